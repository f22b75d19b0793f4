// How long a kernel runs on a device of a profile, from its shapes alone: pure functions.
//
// Products run in waves of tiles over the multiprocessors (NVIDIA, "Matrix multiplication background user's
// guide"): the best of several tiles and splits of k, the last wave counted half full or what it is, whichever is
// more, against the time to move the operands; operands whose rows are no multiple of 16 bytes cost more.
// Attention takes its own share of the peak, or is what it was before it was one kernel
// (device.unfused_attention): two products, a masked softmax and a dropout that write the scores of all pairs to
// memory and read them, four products and two such passes backward (Megatron-LM of 2021 and 2022). All else moves
// its bytes.
// Constants are those of the profile's device; on 580 products measured on an A100 the mean error is 6 %, and 4 %
// from 0.5 ms on.
#pragma once

#include "cluster/profile.h"
#include "graph/op.h"

namespace trine {

// `batch` times [m, k] x [k, n], seconds, without the launch.
double product_s(const DeviceProfile& device, DType dtype, double m, double n, double k, double batch = 1);

// An op of local shapes, with what it costs: seconds, the launch included. `dtype`: of its arithmetic. Views and
// collectives cost nothing here.
double kernel_s(const DeviceProfile& device, const Op& op, std::span<const Shape> in, std::span<const Shape> out,
                const Cost& cost, DType dtype);

// How many kernels the thread that launches counts an op as: 1, but of an attention that is not one kernel and whose
// softmax is not either. Programs that kept scores in memory had a kernel for scale, mask and softmax where four
// divides the sequences times heads of a rank; else they scaled, masked, exponentiated and rounded in a kernel each
// (Megatron-LM, fused_softmax.py, is_kernel_available: attn_batches % 4 == 0).
double launches(const DeviceProfile& device, const Op& op, std::span<const Shape> in);

}  // namespace trine
