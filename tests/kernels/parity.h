// The checks that every backend's kernels go through: each op case against the f64 reference, host inputs, gradient
// norm. A backend takes part as a Machine.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/device.h"
#include "kernels/kernel.h"
#include "tests/kernels/operands.h"

namespace trine::reference {

// Where kernels run.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual std::string name() const = 0;
  virtual Target target() const = 0;
  virtual const KernelTable& kernels() const = 0;
  // Runs a call whose operands lie in `buffers`, which get what it wrote anywhere. False if it wrote outside of its
  // `workspace_bytes` of workspace.
  virtual bool run(const Kernel& kernel, const KernelCall& call, std::span<Buffer> buffers,
                   int64_t workspace_bytes) = 0;
};
using Machines = std::vector<std::unique_ptr<Machine>>;

// Every op with a case in tests/ops/op_cases.h.
std::vector<std::string_view> ops_with_cases();
// All cases of an op: operands alone, with gaps between rows, side by side, and written over an input. Whatever a
// kernel may not touch must keep its bytes.
void expect_parity(Machine& machine, std::string_view op, DType dtype);
// A fused op gives the bits of its decompose(), and the types.
void expect_bits_of_decomposition(Machine& machine, std::string_view op, DType dtype);

// What a backend's suites of these checks are instantiated with: every op with cases, or those that have a
// decompose(), in each float type.
using OpAndDType = std::tuple<std::string_view, DType>;
std::vector<OpAndDType> all_ops();
std::vector<OpAndDType> fused_ops();
std::string name_of(const OpAndDType& parameters);  // "linear_bf16"

void expect_host_inputs_copied(Machine& machine);
// From gradients of several buckets to the clipping factor, against f64.
void expect_norm_of_all_buckets(Machine& machine);
void expect_non_finite_found(Machine& machine);
// As many blocks as bins have room for, by multiplying those of one block; and what 70 billion parameters give.
void expect_norm_at_its_limit(Machine& machine);
// More tokens than f32 can count.
void expect_tokens_counted_exactly(Machine& machine);

}  // namespace trine::reference
