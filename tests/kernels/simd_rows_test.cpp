// Embedding, RMSNorm and RoPE.
#include "tests/kernels/simd_testing.h"

namespace trine::cpu::simd_test {
namespace {

using SimdRows = SimdTest;
TRINE_INSTANTIATE_SIMD(SimdRows);

// --- RMSNorm ---
Doubles rms_norm_reference(const Doubles& x, const Doubles& w, double eps) {
  const size_t d = w.size();
  Doubles y(x.size());
  for (size_t i = 0; i < x.size(); i += d) {
    double sum = 0;
    for (size_t j = 0; j < d; ++j) sum += x[i + j] * x[i + j];
    for (size_t j = 0; j < d; ++j) y[i + j] = x[i + j] * w[j] / std::sqrt(sum / static_cast<double>(d) + eps);
  }
  return y;
}
// dx, then dw
std::pair<Doubles, Doubles> rms_norm_grad_reference(const Doubles& x, const Doubles& w, double eps,
                                                    const Doubles& dy) {
  const size_t d = w.size();
  Doubles dx(x.size()), dw(d, 0.0);
  for (size_t i = 0; i < x.size(); i += d) {
    double sum = 0, product = 0;
    for (size_t j = 0; j < d; ++j) {
      sum += x[i + j] * x[i + j];
      product += x[i + j] * w[j] * dy[i + j];
    }
    const double rstd = 1 / std::sqrt(sum / static_cast<double>(d) + eps);
    for (size_t j = 0; j < d; ++j) {
      dx[i + j] = rstd * (w[j] * dy[i + j] - x[i + j] * rstd * rstd * product / static_cast<double>(d));
      dw[j] += dy[i + j] * x[i + j] * rstd;
    }
  }
  return {dx, dw};
}

TEST(SimdReference, RmsNormGradient) {
  const Doubles x = random_doubles(60, 1), w = random_doubles(12, 2), dy = random_doubles(60, 3);
  const auto [dx, dw] = rms_norm_grad_reference(x, w, 1e-2, dy);
  expect_gradient([&](const Doubles& v) { return rms_norm_reference(v, w, 1e-2); }, x, dy, dx, "dx");
  expect_gradient([&](const Doubles& v) { return rms_norm_reference(x, v, 1e-2); }, w, dy, dw, "dw");
}

TEST_P(SimdRows, RmsNormAndGradient) {
  for (auto [n, d] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 5}, {2, 64}, {37, 129}, {70, 257}, {2000, 3}}) {
    const Matrix x(dtype(), n, d, random_doubles(n * d, 1)), w(dtype(), 1, d, random_doubles(d, 2)),
        dy(dtype(), n, d, random_doubles(n * d, 3));
    Matrix y(dtype(), n, d, 6), dx(dtype(), n, d, 2), over_dy = dy, over_x = x;
    std::vector<float> rstd(n + 1, 7), dw(d + 1, 7), scratch(f().rms_norm_grad_scratch_bytes(n, d) / 4 + 1, 7);
    f().rms_norm(dtype(), n, d, 1e-3f, x.in(), w.in().data, y.out(), rstd.data(), {2});
    expect_close(y.values(), rms_norm_reference(x.values(), w.values(), 1e-3f), rounding(dtype()), 1e-7, "y");
    f().rms_norm(dtype(), n, d, 1e-3f, over_x.in(), w.in().data, over_x.out(), rstd.data(), {2});
    EXPECT_EQ(over_x.bits(), y.bits());

    f().rms_norm_grad(dtype(), n, d, x.in(), w.in().data, rstd.data(), dy.in(), {}, dx.out(), dw.data(),
                      scratch.data(), {2});
    const auto [want_dx, want_dw] = rms_norm_grad_reference(x.values(), w.values(), 1e-3f, dy.values());
    expect_close(dx.values(), want_dx, rounding(dtype()), 4e-6, "dx");
    std::vector<float> dw_only(dw.begin(), dw.end() - 1);
    expect_close(doubles(dw_only), want_dw, 1e-5, 2e-5, "dw");
    EXPECT_TRUE(y.sentinels_intact() && dx.sentinels_intact());
    EXPECT_EQ(rstd.back(), 7);
    EXPECT_EQ(dw.back(), 7);
    EXPECT_EQ(scratch.back(), 7);
    std::vector<float> dw2(d + 1, 7);
    f().rms_norm_grad(dtype(), n, d, x.in(), w.in().data, rstd.data(), over_dy.in(), {}, over_dy.out(), dw2.data(),
                      scratch.data(), {1});
    EXPECT_EQ(over_dy.bits(), dx.bits());
    EXPECT_EQ(dw2, dw);
  }
}

// --- RoPE ---
// Position p rotates the pair (j, j + half) of a head by the angle whose cosine and sine the tables hold.
Doubles rope_reference(const Doubles& x, int64_t width, int heads, int head_dim, int64_t seq,
                       const std::vector<float>& cos, const std::vector<float>& sin, double sign) {
  Doubles y(x.size());
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < static_cast<int64_t>(x.size()) / width; ++i)
    for (int h = 0; h < heads; ++h)
      for (int64_t j = 0; j < half; ++j) {
        const int64_t a = i * width + h * head_dim + j, b = a + half, t = i % seq * half + j;
        y[a] = x[a] * cos[t] - sign * x[b] * sin[t];
        y[b] = x[b] * cos[t] + sign * x[a] * sin[t];
      }
  return y;
}

TEST_P(SimdRows, Rope) {
  for (auto [heads, head_dim, seq, n] : std::vector<std::tuple<int, int, int64_t, int64_t>>{
           {1, 2, 1, 1}, {3, 24, 5, 15}, {2, 64, 7, 14}, {1, 34, 4, 8}, {4, 128, 3, 6}}) {
    const int64_t width = int64_t{heads} * head_dim, half = head_dim / 2;
    std::vector<float> cos, sin;
    for (int64_t t = 0; t < seq * half; ++t) {
      cos.push_back(static_cast<float>(std::cos(0.3 * static_cast<double>(t))));
      sin.push_back(static_cast<float>(std::sin(0.3 * static_cast<double>(t))));
    }
    const Matrix x(dtype(), n, width, random_doubles(n * width, 1));
    for (bool inverse : {false, true}) {
      Matrix y(dtype(), n, width, 9), over_x = x;
      f().rope(dtype(), n, heads, head_dim, seq, x.in(), cos.data(), sin.data(), inverse, y.out(), {2});
      expect_close(y.values(), rope_reference(x.values(), width, heads, head_dim, seq, cos, sin, inverse ? -1 : 1),
                   rounding(dtype()), 1e-7, "rope");
      EXPECT_TRUE(y.sentinels_intact());
      f().rope(dtype(), n, heads, head_dim, seq, over_x.in(), cos.data(), sin.data(), inverse, over_x.out(), {2});
      EXPECT_EQ(over_x.bits(), y.bits());
    }
  }
}

// --- Embedding ---
TEST_P(SimdRows, EmbeddingAndGradient) {
  for (int64_t d : {1, 7, 64, 130}) {
    const int64_t n = 200, rows = 11, first = 5;
    const Matrix table(dtype(), rows, d, random_doubles(rows * d, 1)), dy(dtype(), n, d, random_doubles(n * d, 2));
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(i * 7 % 23 - 1));  // below, inside, above
    Matrix out(dtype(), n, d, 4);
    f().embedding(dtype(), ids.data(), n, d, first, rows, table.in(), out.out(), {3});
    EXPECT_TRUE(out.sentinels_intact());
    std::vector<float> start = floats(random_doubles(rows * d + 1, 3)), acc = start, fresh = start;
    std::vector<float> want = start, want_fresh(rows * d, 0.0f);
    want_fresh.push_back(start.back());
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < d; ++j) {
        const int64_t r = ids[i] - first;
        const bool inside = r >= 0 && r < rows;
        ASSERT_EQ(out.get(i, j), inside ? table.get(r, j) : 0);
        if (!inside) continue;
        want[r * d + j] += static_cast<float>(dy.get(i, j));  // f32, in order: the kernel must give these bits
        want_fresh[r * d + j] += static_cast<float>(dy.get(i, j));
      }
    f().embedding_grad(dtype(), ids.data(), n, d, first, rows, dy.in(), acc.data(), false, {3});
    f().embedding_grad(dtype(), ids.data(), n, d, first, rows, dy.in(), fresh.data(), true, {3});
    EXPECT_EQ(acc, want);
    EXPECT_EQ(fresh, want_fresh);
  }
}

TEST_P(SimdRows, ThreadsAndAlignmentDoNotMatter) {
  const int64_t n = 203, d = 2 * 46;
  const Doubles xs = random_doubles(n * d, 1), ys = random_doubles(n * d, 2), ws = random_doubles(d, 3);
  const std::vector<float> cos = floats(random_doubles(7 * 23, 4)), sin = floats(random_doubles(7 * 23, 5));
  std::vector<int32_t> ids(n);
  for (int64_t i = 0; i < n; ++i) ids[i] = static_cast<int32_t>(i * 5 % 13);
  expect_invariant([&](int threads, int left) {
    const Matrix x(dtype(), n, d, xs, left), dy(dtype(), n, d, ys, left + 2), w(dtype(), 1, d, ws, left);
    Matrix y(dtype(), n, d, left), dx(dtype(), n, d, left), rotated(dtype(), n, d, left);
    std::vector<float> rstd(n), dw(d), scratch(f().rms_norm_grad_scratch_bytes(n, d) / 4), acc(13 * d);
    f().rms_norm(dtype(), n, d, 1e-5f, x.in(), w.in().data, y.out(), rstd.data(), {threads});
    f().rms_norm_grad(dtype(), n, d, x.in(), w.in().data, rstd.data(), dy.in(), {}, dx.out(), dw.data(),
                      scratch.data(), {threads});
    f().rope(dtype(), n, 2, 46, 7, x.in(), cos.data(), sin.data(), false, rotated.out(), {threads});
    f().embedding_grad(dtype(), ids.data(), n, d, 0, 13, dy.in(), acc.data(), true, {threads});
    return y.bits() + dx.bits() + rotated.bits() + bits(rstd) + bits(dw) + bits(acc);
  });
}

}  // namespace
}  // namespace trine::cpu::simd_test
