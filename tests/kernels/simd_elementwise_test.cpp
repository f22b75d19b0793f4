#include <limits>

#include "tests/kernels/simd_testing.h"

namespace trine::cpu::simd_test {
namespace {

using SimdElementwise = SimdTest;
using IsaElementwise = IsaTest;
TRINE_INSTANTIATE_SIMD(SimdElementwise);
TRINE_INSTANTIATE_ISA(IsaElementwise);

const std::vector<std::pair<int64_t, int64_t>> kSizes = {{1, 1}, {3, 5}, {2, 16}, {7, 33}, {4, 96}, {5, 257}};

double silu(double x) { return x / (1 + std::exp(-x)); }
Doubles swiglu_reference(const Doubles& g, const Doubles& u) {
  Doubles h;
  for (size_t i = 0; i < g.size(); ++i) h.push_back(silu(g[i]) * u[i]);
  return h;
}
// dg, then du
std::pair<Doubles, Doubles> swiglu_grad_reference(const Doubles& g, const Doubles& u, const Doubles& dh) {
  Doubles dg, du;
  for (size_t i = 0; i < g.size(); ++i) {
    const double s = 1 / (1 + std::exp(-g[i]));
    dg.push_back(dh[i] * u[i] * s * (1 + g[i] * (1 - s)));
    du.push_back(dh[i] * g[i] * s);
  }
  return {dg, du};
}

TEST(SimdReference, SwigluGradient) {
  const Doubles g = random_doubles(50, 1, 3), u = random_doubles(50, 2), dh = random_doubles(50, 3);
  const auto [dg, du] = swiglu_grad_reference(g, u, dh);
  expect_gradient([&](const Doubles& x) { return swiglu_reference(x, u); }, g, dh, dg, "dg");
  expect_gradient([&](const Doubles& x) { return swiglu_reference(g, x); }, u, dh, du, "du");
}

TEST_P(SimdElementwise, Swiglu) {
  for (auto [n, d] : kSizes) {
    const Matrix g(dtype(), n, d, random_doubles(n * d, 1, 8)), u(dtype(), n, d, random_doubles(n * d, 2));
    Matrix h(dtype(), n, d, 7), over_g = g, over_u = u;
    f().swiglu(dtype(), n, d, g.in(), u.in(), h.out(), {2});
    expect_close(h.values(), swiglu_reference(g.values(), u.values()), rounding(dtype()), 1e-7, "h");
    EXPECT_TRUE(h.sentinels_intact());
    f().swiglu(dtype(), n, d, over_g.in(), u.in(), over_g.out(), {2});
    f().swiglu(dtype(), n, d, g.in(), over_u.in(), over_u.out(), {2});
    EXPECT_EQ(over_g.bits(), h.bits());
    EXPECT_EQ(over_u.bits(), h.bits());
  }
}

TEST_P(SimdElementwise, SwigluGrad) {
  for (auto [n, d] : kSizes) {
    const Matrix g(dtype(), n, d, random_doubles(n * d, 1, 8)), u(dtype(), n, d, random_doubles(n * d, 2)),
        dh(dtype(), n, d, random_doubles(n * d, 3));
    Matrix dg(dtype(), n, d, 7), du(dtype(), n, d, 1), over_g = g, over_u = u;
    f().swiglu_grad(dtype(), n, d, g.in(), u.in(), dh.in(), dg.out(), du.out(), {2});
    const auto [want_g, want_u] = swiglu_grad_reference(g.values(), u.values(), dh.values());
    expect_close(dg.values(), want_g, 2 * rounding(dtype()), 1e-6, "dg");
    expect_close(du.values(), want_u, 2 * rounding(dtype()), 1e-6, "du");
    EXPECT_TRUE(dg.sentinels_intact() && du.sentinels_intact());
    f().swiglu_grad(dtype(), n, d, over_g.in(), over_u.in(), dh.in(), over_g.out(), over_u.out(), {2});
    EXPECT_EQ(over_g.bits(), dg.bits());
    EXPECT_EQ(over_u.bits(), du.bits());
  }
}

TEST_P(SimdElementwise, SwigluSurvivesExtremes) {
  const Matrix g(dtype(), 1, 4, {-200, 200, -1000, 0}), u(dtype(), 1, 4, {1, 1, 1, 1});
  Matrix h(dtype(), 1, 4), dg(dtype(), 1, 4), du(dtype(), 1, 4);
  f().swiglu(dtype(), 1, 4, g.in(), u.in(), h.out(), {1});
  f().swiglu_grad(dtype(), 1, 4, g.in(), u.in(), u.in(), dg.out(), du.out(), {1});
  EXPECT_EQ(h.values(), (Doubles{0, 200, 0, 0}));
  EXPECT_EQ(dg.values(), (Doubles{0, 1, 0, 0.5}));
}

// Element j of a row gives the same bits wherever it stands: in a vector, in a tail, alone.
TEST_P(SimdElementwise, PositionDoesNotMatter) {
  const int64_t d = 3 * 16 + 7;
  const Matrix g(dtype(), 1, d, random_doubles(d, 1, 8)), u(dtype(), 1, d, random_doubles(d, 2));
  Matrix whole(dtype(), 1, d), alone(dtype(), 1, d), dg(dtype(), 1, d), du(dtype(), 1, d), dg1(dtype(), 1, d),
      du1(dtype(), 1, d);
  f().swiglu(dtype(), 1, d, g.in(), u.in(), whole.out(), {1});
  f().swiglu_grad(dtype(), 1, d, g.in(), u.in(), u.in(), dg.out(), du.out(), {1});
  const auto shifted = [&](auto rows, int64_t j) {
    rows.data = (char*)rows.data + j * element_bytes();  // NOLINT: both kinds of rows
    return rows;
  };
  for (int64_t j = 0; j < d; ++j) {
    f().swiglu(dtype(), 1, 1, shifted(g.in(), j), shifted(u.in(), j), shifted(alone.out(), j), {1});
    f().swiglu_grad(dtype(), 1, 1, shifted(g.in(), j), shifted(u.in(), j), shifted(u.in(), j),
                    shifted(dg1.out(), j), shifted(du1.out(), j), {1});
  }
  EXPECT_EQ(whole.bits(), alone.bits());
  EXPECT_EQ(dg.bits(), dg1.bits());
  EXPECT_EQ(du.bits(), du1.bits());
}

TEST_P(SimdElementwise, ThreadsAndAlignmentDoNotMatter) {
  const int64_t n = 41, d = 301;
  const Doubles a = random_doubles(n * d, 1, 4), b = random_doubles(n * d, 2, 4);
  expect_invariant([&](int threads, int left) {
    const Matrix x(dtype(), n, d, a, left), y(dtype(), n, d, b, left + 1);
    Matrix sum(dtype(), n, d, left), h(dtype(), n, d, left), dg(dtype(), n, d, left), du(dtype(), n, d, left);
    f().add(dtype(), n, d, x.in(), y.in(), sum.out(), {threads});
    f().swiglu(dtype(), n, d, x.in(), y.in(), h.out(), {threads});
    f().swiglu_grad(dtype(), n, d, x.in(), y.in(), x.in(), dg.out(), du.out(), {threads});
    return sum.bits() + h.bits() + dg.bits() + du.bits();
  });
}

TEST_P(SimdElementwise, Add) {
  for (auto [n, d] : kSizes) {
    const Matrix a(dtype(), n, d, random_doubles(n * d, 1)), b(dtype(), n, d, random_doubles(n * d, 2));
    Matrix y(dtype(), n, d), over_a = a, over_b = b;
    f().add(dtype(), n, d, a.in(), b.in(), y.out(), {2});
    Doubles want = a.values();
    for (size_t i = 0; i < want.size(); ++i) want[i] += b.values()[i];
    EXPECT_EQ(y.values(), Matrix(dtype(), n, d, want).values());  // exact in f64, rounded once
    EXPECT_TRUE(y.sentinels_intact());
    f().add(dtype(), n, d, over_a.in(), b.in(), over_a.out(), {2});
    f().add(dtype(), n, d, a.in(), over_b.in(), over_b.out(), {2});
    EXPECT_EQ(over_a.bits(), y.bits());
    EXPECT_EQ(over_b.bits(), y.bits());
  }
}

TEST_P(SimdElementwise, NonFinite) {
  const int64_t n = 40, d = 333;
  const double inf = std::numeric_limits<double>::infinity();
  Matrix x(dtype(), n, d, random_doubles(n * d, 1, 60000));  // sentinels and large values are finite
  EXPECT_EQ(f().count_non_finite(dtype(), n, d, x.in(), {2}), 0);
  EXPECT_EQ(f().first_non_finite(dtype(), n, d, x.in()), -1);
  x.set(n - 1, d - 1, inf);
  x.set(17, 0, -inf);
  x.set(17, 332, NAN);
  EXPECT_EQ(f().count_non_finite(dtype(), n, d, x.in(), {2}), 3);
  EXPECT_EQ(f().count_non_finite(dtype(), 18, d - 1, x.in(), {2}), 1);
  EXPECT_EQ(f().first_non_finite(dtype(), n, d, x.in()), 17 * d);
  EXPECT_EQ(f().first_non_finite(dtype(), 1, 1, x.in()), -1);
}

// Conversions against base/dtype.h: every 16-bit pattern, and f32 values around all rounding points.
template <typename T, typename Convert>
void expect_narrow(const std::vector<float>& values, const std::vector<T>& got, Convert convert) {
  for (size_t i = 0; i < values.size(); ++i) {
    const T want = convert(values[i]);
    ASSERT_TRUE(std::isnan(values[i]) ? std::isnan(to_float(got[i])) : got[i].bits == want.bits) << values[i];
  }
}
bool same_bits_or_both_nan(float a, float b) {
  return std::isnan(a) ? std::isnan(b) : std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

TEST_P(IsaElementwise, CastsAgreeWithBase) {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; ++high)
    for (uint32_t low : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x3000u, 0x7fffu, 0x8000u, 0x8001u, 0xf000u})
      values.push_back(std::bit_cast<float>(high << 16 | low));
  const int64_t n = static_cast<int64_t>(values.size()) - 1;  // odd: a tail
  std::vector<BFloat16> b(n + 1, BFloat16{0x1234});
  std::vector<Float16> h(n + 1, Float16{0x1234});
  f().cast(DType::kF32, DType::kBF16, n, values.data(), b.data(), {2});
  f().cast(DType::kF32, DType::kF16, n, values.data(), h.data(), {2});
  EXPECT_EQ(b.back().bits, 0x1234);
  EXPECT_EQ(h.back().bits, 0x1234);
  values.resize(n);
  expect_narrow(values, b, to_bf16);
  expect_narrow(values, h, to_f16);
}

TEST_P(IsaElementwise, WideningIsExact) {
  std::vector<BFloat16> b;
  std::vector<Float16> h;
  for (uint32_t bits = 0; bits < 0xffff; ++bits) {
    b.push_back({static_cast<uint16_t>(bits)});
    h.push_back({static_cast<uint16_t>(bits)});
  }
  std::vector<float> from_b(b.size()), from_h(h.size());
  f().cast(DType::kBF16, DType::kF32, 0xffff, b.data(), from_b.data(), {2});
  f().cast(DType::kF16, DType::kF32, 0xffff, h.data(), from_h.data(), {2});
  for (size_t i = 0; i < b.size(); ++i) {
    ASSERT_TRUE(same_bits_or_both_nan(to_float(b[i]), from_b[i])) << i;
    ASSERT_TRUE(same_bits_or_both_nan(to_float(h[i]), from_h[i])) << i;
  }
}

TEST_P(IsaElementwise, CopyRowsBetweenAllDtypes) {
  for (DType from : {DType::kF32, DType::kBF16, DType::kF16})
    for (DType to : {DType::kF32, DType::kBF16, DType::kF16})
      for (auto [n, d] : kSizes) {
        const Matrix x(from, n, d, random_doubles(n * d, 1));
        Matrix y(to, n, d, 6);
        f().copy_rows(from, to, n, d, x.in(), y.out(), {2});
        EXPECT_EQ(y.values(), Matrix(to, n, d, x.values()).values());
        EXPECT_TRUE(y.sentinels_intact());
      }
}

TEST_P(IsaElementwise, Accumulate) {
  for (int64_t n : {1, 15, 16, 1000, 20001}) {
    const std::vector<float> x = floats(random_doubles(n, 1)), start = floats(random_doubles(n + 1, 2));
    std::vector<float> acc = start, copy = start, want = start;
    for (int64_t i = 0; i < n; ++i) want[i] += x[i];
    f().accumulate(n, acc.data(), x.data(), false, {3});
    EXPECT_EQ(acc, want);
    f().accumulate(n, copy.data(), x.data(), true, {3});
    for (int64_t i = 0; i < n; ++i) want[i] = x[i];
    EXPECT_EQ(copy, want);
  }
}

// Through swiglu's sibling that shows exp itself: dlogits = 1 * exp(x - 0).
TEST_P(IsaElementwise, ExpIsWithinTwoUlp) {
  std::vector<float> x;
  for (double v = -104; v <= 89; v += 0.000713) x.push_back(static_cast<float>(v));
  for (float v : {0.0f, -0.0f, 1e-30f, -1e-8f, 88.72283f, -87.33654f, -103.97208f, -1e30f, -INFINITY})
    x.push_back(v);
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<float> y(n);
  const float stats[3] = {0, 1, 0}, dstats[3] = {0, 1, 0};
  const int32_t label = -1;
  f().vocab_stats_grad(DType::kF32, 1, n, {x.data(), n}, stats, dstats, &label, 0, {y.data(), n}, {1});
  for (int64_t i = 0; i < n; ++i) {
    const double want = std::exp(static_cast<double>(x[i]));
    if (want > std::numeric_limits<float>::max()) {
      ASSERT_TRUE(y[i] >= std::numeric_limits<float>::max()) << x[i];
      continue;
    }
    const double ulp = std::max(std::ldexp(1.0, std::ilogb(std::max(want, 1e-45)) - 23), 0x1p-149);
    ASSERT_LE(std::abs(y[i] - want), 2 * ulp) << x[i];
  }
  EXPECT_EQ(y[n - 9], 1.0f);
  EXPECT_EQ(y[n - 1], 0.0f);
}

}  // namespace
}  // namespace trine::cpu::simd_test
