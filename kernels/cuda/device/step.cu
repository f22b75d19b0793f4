// The numbers of a step: labels that count, the seed of backward.
#include "kernels/cuda/device/launch.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace trine::cuda {
namespace {

__global__ void set_scalars_kernel(float* a, float a_value, float* b, float b_value) {
  *a = a_value;
  *b = b_value;
}

__global__ void count_valid_kernel(int64_t n, const int32_t* labels, int64_t* count) {
  __shared__ unsigned long long scratch[32];
  unsigned long long valid = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) valid += labels[i] >= 0;
  valid = block_sum(valid, scratch);
  if (threadIdx.x == 0) *count = static_cast<int64_t>(valid);
}

__global__ void loss_seed_kernel(const float* loss_scale, const int64_t* count, float* seed) {
  *seed = static_cast<float>(static_cast<double>(*loss_scale) / static_cast<double>(*count));
}

}  // namespace

void set_scalars(cudaStream_t stream, float* a, float a_value, float* b, float b_value) {
  set_scalars_kernel<<<1, 1, 0, stream>>>(a, a_value, b, b_value);
  check_launch("set_scalars");
}

void count_valid(cudaStream_t stream, int64_t n, const int32_t* labels, int64_t* count) {
  count_valid_kernel<<<1, 1024, 0, stream>>>(n, labels, count);
  check_launch("count_valid");
}

void loss_seed(cudaStream_t stream, const float* loss_scale, const int64_t* count, float* seed) {
  loss_seed_kernel<<<1, 1, 0, stream>>>(loss_scale, count, seed);
  check_launch("loss_seed");
}

}  // namespace trine::cuda
