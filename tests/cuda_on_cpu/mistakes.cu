#include "kernels/cuda/device/values.cuh"
#include "tests/cuda_on_cpu/mistakes.h"

namespace trine::on_cpu {
namespace {

__global__ void reverse_kernel(const float* from, float* to, bool with_barrier) {
  __shared__ float values[1024];
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  values[i] = from[i];
  if (with_barrier) __syncthreads();
  to[i] = values[n - 1 - i];
}

// The barrier that is easily forgotten: after the last read, before the next write.
__global__ void sum_kernel(int turns, float* sums, bool with_barrier) {
  __shared__ float values[32];
  const int i = static_cast<int>(threadIdx.x);
  for (int turn = 0; turn < turns; ++turn) {
    values[i] = static_cast<float>(turn * i);
    __syncthreads();
    float sum = 0;
    for (const float value : values) sum += value;
    if (i == turn) sums[turn] = sum;
    if (with_barrier) __syncthreads();
  }
}

__global__ void some_kernel(int count, bool others_end) {
  if (static_cast<int>(threadIdx.x) < count)
    __syncthreads();
  else if (!others_end)
    __syncwarp();
}

__global__ void two_lines_kernel() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void warp_kernel(int running, float* sum) {
  if (static_cast<int>(threadIdx.x) >= running) return;
  float x = 1;
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  if (threadIdx.x == 0) *sum = x;
}

__global__ void unwritten_kernel(float* of_static, float* of_dynamic) {
  __shared__ float values[2];
  extern __shared__ float more[];
  *of_static = values[1];
  *of_dynamic = more[1];
  values[1] = more[1] = 3;  // the next block must not see it
}

__global__ void write_kernel(int at) {
  extern __shared__ float values[];
  values[at] = 1;
}

__global__ void misaligned_kernel(const char* bytes, float* sum) {
  const cuda::Values<4> x = cuda::load<true, 4>(reinterpret_cast<const float*>(bytes), 4);
  *sum = x[0] + x[3];
}

__global__ void empty_kernel() {}

__global__ void trap_kernel() { cuda::require(blockIdx.x != 1); }

}  // namespace

void reverse(cudaStream_t stream, int n, const float* from, float* to, bool with_barrier) {
  reverse_kernel<<<1, n, 0, stream>>>(from, to, with_barrier);
}
void sum_again_and_again(cudaStream_t stream, int turns, float* sums, bool with_barrier) {
  sum_kernel<<<1, 32, 0, stream>>>(turns, sums, with_barrier);
}
void barrier_of_some(cudaStream_t stream, int count, bool others_end) {
  some_kernel<<<1, 64, 0, stream>>>(count, others_end);
}
void barriers_in_two_lines(cudaStream_t stream) { two_lines_kernel<<<1, 64, 0, stream>>>(); }
void sum_of_warp(cudaStream_t stream, int running, float* sum) { warp_kernel<<<1, 32, 0, stream>>>(running, sum); }
void read_unwritten(cudaStream_t stream, float* of_static, float* of_dynamic) {
  unwritten_kernel<<<2, 1, 8, stream>>>(of_static, of_dynamic);
}
void write_shared(cudaStream_t stream, int at) { write_kernel<<<1, 1, 8 * sizeof(float), stream>>>(at); }
void misaligned(cudaStream_t stream, const char* bytes, float* sum) {
  misaligned_kernel<<<1, 1, 0, stream>>>(bytes, sum);
}
void launch_empty(cudaStream_t stream, unsigned blocks_y, unsigned threads, size_t shared_bytes, bool ask) {
  if (ask)
    cudaFuncSetAttribute(reinterpret_cast<const void*>(empty_kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared_bytes));
  empty_kernel<<<dim3(1, blocks_y), threads, shared_bytes, stream>>>();
}
void take_trap(cudaStream_t stream) { trap_kernel<<<2, 32, 0, stream>>>(); }

}  // namespace trine::on_cpu
