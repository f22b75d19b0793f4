// What the op cases are too small for: rows beyond a grid's limit, blocks that walk; and kernels of no op.
#include <cmath>
#include <gmock/gmock.h>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/device/functions.h"
#include "kernels/cuda/index.h"
#include "tests/cuda_on_cpu/block.h"

namespace trine::cuda {
namespace {

// As many as differ from each other, and exact in sums.
std::vector<float> whole_numbers(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 8191) - 4000;
  return x;
}

TEST(CudaOnCpuGrids, RowsBeyondTheLimitOfAGrid) {
  const int64_t n = 65535 + 300, stride = 2;
  const std::vector<float> a = whole_numbers(n * stride);
  std::vector<float> y(a.size(), -1), want(a.size(), -1);
  for (size_t i = 0; i < a.size(); i += 2) want[i] = 2 * a[i];
  add(nullptr, DType::kF32, n, 1, {a.data(), stride}, {a.data(), stride}, {y.data(), stride});
  EXPECT_EQ(y, want);
}

// One that took the low 32 bits would do five rows.
TEST(CudaOnCpuGrids, MoreBlocksThanAGridHasAreRefused) {
  const int64_t n = (int64_t{1} << 32) + 5;
  EXPECT_THROW(rms_norm(nullptr, DType::kF32, n, 8, 1e-5f, {nullptr, 8}, nullptr, {nullptr, 8}, nullptr),
               CheckError);
  EXPECT_THROW(vocab_stats(nullptr, DType::kF32, n, 8, {nullptr, 8}, nullptr, 0, nullptr), CheckError);
  const AttentionShape shape{n, 1, 1, 1, 8};
  const ConstRows none{nullptr, 8};
  EXPECT_THROW(attention_forward(nullptr, DType::kF32, shape, none, none, none, {nullptr, 8}, nullptr), CheckError);
  EXPECT_THROW(accumulate(nullptr, int64_t{1} << 42, nullptr, nullptr), CheckError);
}

// 2048 blocks take 2^21 elements of f32 at once.
TEST(CudaOnCpuGrids, AdamWWalksOverLongBuckets) {
  const int64_t n = (int64_t{1} << 21) + 1027;
  const std::vector<float> grad = whole_numbers(n);
  std::vector<float> master(grad.size(), 1), m(grad.size()), v(grad.size()), compute(grad.size());
  const float lr = 0.5f, factor = 1;
  const int32_t apply = 1, step = 1;
  adamw(nullptr, DType::kF32, n, {0.5f, 0.5f, 0, 0}, &lr, &factor, &apply, &step, grad.data(), master.data(),
        m.data(), v.data(), compute.data());
  for (size_t i = 0; i < grad.size(); ++i) {  // the first step is lr in the direction of the gradient
    if (grad[i] == 0) continue;               // 0 / 0
    ASSERT_NEAR(master[i], grad[i] > 0 ? 0.5f : 1.5f, 1e-5) << i;
    ASSERT_EQ(m[i], grad[i] / 2) << i;
    ASSERT_EQ(compute[i], master[i]) << i;
  }
}

// 2048 blocks take 64 * 256 elements each at once: here the grid's second turn is one element.
TEST(CudaOnCpuGrids, NormWalksOverLongBuckets) {
  const int64_t n = int64_t{2048} * 64 * kNormBlock + 1;
  const std::vector<float> ones(static_cast<size_t>(n), 1);
  std::vector<int64_t> bins(kNumBins);
  squared_norm_bins(nullptr, n, ones.data(), bins.data());
  double sum = 0;
  for (int i = 0; i < 64; ++i) sum += std::ldexp(static_cast<double>(bins[static_cast<size_t>(i)]), 4 * i - 150);
  EXPECT_EQ(sum, static_cast<double>(n));
}

TEST(CudaOnCpuGrids, StatisticsChangeTheirOrderAndBack) {
  const AttentionShape shape{2, 5, 3, 1, 8};
  std::vector<float> statistics(30), lse(30), back(30);
  std::iota(statistics.begin(), statistics.end(), 0.0f);
  statistics_to_lse(nullptr, shape, statistics.data(), lse.data());
  lse_to_statistics(nullptr, shape, lse.data(), back.data());
  EXPECT_EQ(back, statistics);
  for (int b = 0; b < 2; ++b)
    for (int s = 0; s < 5; ++s)
      for (int h = 0; h < 3; ++h)
        EXPECT_EQ(lse[static_cast<size_t>((b * 5 + s) * 3 + h)], static_cast<float>((b * 3 + h) * 5 + s));
}

TEST(CudaOnCpuGrids, NonFiniteElementsAreCounted) {
  std::vector<float> x = whole_numbers(70 * 40);
  x[0] = INFINITY, x[39 * 70 + 60] = NAN, x[69] = NAN;  // the last one in a gap
  const TensorView view{reinterpret_cast<std::byte*>(x.data()), DType::kF32, 40, 64, 70};
  EXPECT_EQ(count_non_finite(*make_context(0), view), 2);
}

}  // namespace
}  // namespace trine::cuda
