// Kernels with mistakes, and their right twins: what block.h must show.
#pragma once

#include <driver_types.h>

namespace trine::on_cpu {

// to[i] = from[n - 1 - i] through shared memory, n <= 1024 a multiple of 32.
void reverse(cudaStream_t stream, int n, const float* from, float* to, bool with_barrier);
// sums[i] = the sum of a turn's values, for `turns` turns over scratch that each turn writes again.
void sum_again_and_again(cudaStream_t stream, int turns, float* sums, bool with_barrier);

// Only the threads below `count` of 64 come to the barrier; the others end, or wait for their warp.
void barrier_of_some(cudaStream_t stream, int count, bool others_end);
void barriers_in_two_lines(cudaStream_t stream);
// The sum over a warp by shuffles; a thread that has ended brings a NaN.
void sum_of_warp(cudaStream_t stream, int running, float* sum);

void read_unwritten(cudaStream_t stream, float* of_static, float* of_dynamic);
// Writes element `at` of dynamic shared memory of 8 floats.
void write_shared(cudaStream_t stream, int at);
void misaligned(cudaStream_t stream, const char* bytes, float* sum);
void launch_empty(cudaStream_t stream, unsigned blocks_y, unsigned threads, size_t shared_bytes, bool ask);
void take_trap(cudaStream_t stream);

}  // namespace trine::on_cpu
