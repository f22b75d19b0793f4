#include <array>

#include "tests/kernels/simd_testing.h"

namespace trine::cpu::simd_test {
namespace {

using SimdOptimizer = SimdTest;
using IsaOptimizer = IsaTest;
TRINE_INSTANTIATE_SIMD(SimdOptimizer);
TRINE_INSTANTIATE_ISA(IsaOptimizer);

using Bins = std::array<int64_t, kNormBins>;

constexpr AdamWStep kStep = {.lr = 3e-3f,
                             .beta1 = 0.9f,
                             .beta2 = 0.95f,
                             .eps = 1e-8f,
                             .weight_decay = 0.1f,
                             .bias_correction1 = 0.271f,
                             .bias_correction2 = 0.142625f,
                             .grad_scale = 0.37f};

TEST_P(SimdOptimizer, AdamW) {
  for (int64_t n : {1, 15, 16, 100, 20003}) {
    const std::vector<float> grad = floats(random_doubles(n, 1)), p0 = floats(random_doubles(n, 2)),
                             m0 = floats(random_doubles(n, 3));
    std::vector<float> v0 = floats(random_doubles(n, 4)), p = p0, m = m0;
    for (float& x : v0) x *= x;
    std::vector<float> v = v0;
    Matrix compute(dtype(), 1, n, 1);
    f().adamw(dtype(), n, kStep, p.data(), m.data(), v.data(), grad.data(), compute.out().data, {2});
    Doubles want_p, want_m, want_v;
    for (int64_t i = 0; i < n; ++i) {
      const double g = double{grad[i]} * kStep.grad_scale;
      want_m.push_back(double{kStep.beta1} * m0[i] + (1 - double{kStep.beta1}) * g);
      want_v.push_back(double{kStep.beta2} * v0[i] + (1 - double{kStep.beta2}) * g * g);
      want_p.push_back(p0[i] - double{kStep.lr} * kStep.weight_decay * p0[i] -
                       kStep.lr * (want_m[i] / kStep.bias_correction1) /
                           (std::sqrt(want_v[i] / kStep.bias_correction2) + kStep.eps));
    }
    expect_close(doubles(m), want_m, 1e-6, 1e-8, "m");
    expect_close(doubles(v), want_v, 1e-6, 1e-9, "v");
    expect_close(doubles(p), want_p, 1e-6, 1e-7, "master");
    EXPECT_EQ(compute.values(), Matrix(dtype(), 1, n, doubles(p)).values());
    EXPECT_TRUE(compute.sentinels_intact());
    std::vector<float> p2 = p0, m2 = m0, v2 = v0;
    f().adamw(dtype(), n, kStep, p2.data(), m2.data(), v2.data(), grad.data(), nullptr, {1});
    EXPECT_EQ(bits(p2) + bits(m2) + bits(v2), bits(p) + bits(m) + bits(v));
  }
}

TEST_P(SimdOptimizer, AdamWDoesNotDependOnPosition) {
  const int64_t n = 20003;
  const Doubles values = random_doubles(n, 5);
  expect_invariant([&](int threads, int left) {
    const auto shifted = [&] {
      std::vector<float> x(left, 1.0f);
      for (double value : values) x.push_back(static_cast<float>(value * value));
      return x;
    };
    std::vector<float> p = shifted(), m = shifted(), v = shifted(), grad = shifted();
    Matrix compute(dtype(), 1, n, left);
    // In two calls, cut where a vector would not be.
    for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, 77 + left}, {77 + left, n}}) {
      char* out = static_cast<char*>(compute.out().data) + begin * element_bytes();
      f().adamw(dtype(), end - begin, kStep, &p[left + begin], &m[left + begin], &v[left + begin],
                &grad[left + begin], out, {threads});
    }
    return bits({p.begin() + left, p.end()}) + bits({m.begin() + left, m.end()}) + compute.bits();
  });
}

// The same block sums in f32 and f64: 16 running sums, then a tree.
double block_sum(const float* g, int64_t n) {
  float sums[16] = {};
  for (int64_t i = 0; i < n; ++i) {
    const float square = g[i] * g[i];
    sums[i % 16] = sums[i % 16] + square;
  }
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
  return sums[0];
}

TEST_P(IsaOptimizer, SquaredNormIsTheExactSumOfBlockSums) {
  for (int64_t n : {1, 7, 16, 255, 256, 257, 1000, 40003}) {
    for (double scale : {1e-21, 1e-5, 1.0, 1e15}) {
      const std::vector<float> g = floats(random_doubles(n, 1, scale));
      Bins bins{};
      f().squared_norm_bins(n, g.data(), bins.data(), {2});
      long double want = 0;
      for (int64_t i = 0; i < n; i += 256) want += block_sum(g.data() + i, std::min<int64_t>(256, n - i));
      EXPECT_NEAR(squared_norm_value(bins.data()) / static_cast<double>(want), 1, 1e-15) << n << " of " << scale;
      EXPECT_EQ(bins[64], 0);
      double exact = 0;
      for (float x : g) exact += double{x} * x;
      if (scale > 1e-10) {
        EXPECT_NEAR(squared_norm_value(bins.data()) / exact, 1, 1e-5);
      }
    }
  }
}

TEST_P(IsaOptimizer, SquaredNormDoesNotDependOnOrder) {
  const int64_t n = 300 * 256 + 19;
  std::vector<float> g = floats(random_doubles(n, 1));
  for (int64_t i = 0; i < n; ++i) g[i] *= std::ldexp(1.0f, static_cast<int>(i / 256 % 60) - 40);
  Bins one{}, two{}, pieces{};
  f().squared_norm_bins(n, g.data(), one.data(), {1});
  f().squared_norm_bins(n, g.data(), two.data(), {3});
  f().squared_norm_bins(n - 100 * 256, g.data() + 100 * 256, pieces.data(), {2});
  f().squared_norm_bins(100 * 256, g.data(), pieces.data(), {2});
  EXPECT_EQ(one, two);
  EXPECT_EQ(one, pieces);
  Bins first{};
  simd_functions(Isa::kPortable).squared_norm_bins(n, g.data(), first.data(), {1});
  EXPECT_EQ(one, first);
}

TEST_P(IsaOptimizer, SquaredNormOfSubnormalsAndInfinities) {
  Bins bins{};
  const float tiny = 0x1p-74f;  // squared 2^-148: a subnormal block sum
  f().squared_norm_bins(1, &tiny, bins.data(), {1});
  EXPECT_EQ(squared_norm_value(bins.data()), 0x1p-148);
  for (float bad : {INFINITY, static_cast<float>(NAN), 1e30f}) {
    Bins more = bins;
    f().squared_norm_bins(1, &bad, more.data(), {1});
    EXPECT_EQ(more[64], 1);
    EXPECT_TRUE(std::isinf(squared_norm_value(more.data())));
  }
}

}  // namespace
}  // namespace trine::cpu::simd_test
