// What the tests of the vectorised kernels share: matrices with sentinels around them, and comparisons with f64.
#pragma once

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "base/dtype.h"
#include "kernels/cpu/simd/functions.h"

namespace trine::cpu::simd_test {

using Doubles = std::vector<double>;

// Random values of about unit size, the same for the same seed.
inline Doubles random_doubles(int64_t count, unsigned seed, double scale = 1) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform(-scale, scale);
  Doubles values(count);
  for (double& value : values) value = uniform(generator);
  return values;
}

inline double dot(const Doubles& a, const Doubles& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// A T[n, d] that is a column range of a wider matrix whose other bytes are sentinels.
class Matrix {
 public:
  Matrix(DType dtype, int64_t n, int64_t d, int64_t left = 3)
      : dtype_(dtype),
        n_(n),
        d_(d),
        left_(left),
        stride_(left + d + 5),
        bytes_((n * stride_ + 8) * size(), kSentinel) {}
  Matrix(DType dtype, int64_t n, int64_t d, const Doubles& values, int64_t left = 3) : Matrix(dtype, n, d, left) {
    for (int64_t i = 0; i < n * d; ++i) set(i / d, i % d, values[i]);
  }

  ConstRows in() const { return {bytes_.data() + left_ * size(), stride_}; }
  Rows out() { return {bytes_.data() + left_ * size(), stride_}; }

  void set(int64_t i, int64_t j, double value) {
    const float f = static_cast<float>(value);
    if (dtype_ == DType::kF32) write(i, j, f);
    if (dtype_ == DType::kBF16) write(i, j, to_bf16(f));
    if (dtype_ == DType::kF16) write(i, j, to_f16(f));
  }
  double get(int64_t i, int64_t j) const {
    if (dtype_ == DType::kF32) return read<float>(i, j);
    return dtype_ == DType::kBF16 ? to_float(read<BFloat16>(i, j)) : to_float(read<Float16>(i, j));
  }
  // What the kernel sees: the values after rounding to T.
  Doubles values() const {
    Doubles result;
    for (int64_t i = 0; i < n_ * d_; ++i) result.push_back(get(i / d_, i % d_));
    return result;
  }
  std::string bits() const {
    std::string result;
    for (int64_t i = 0; i < n_; ++i) result.append(reinterpret_cast<const char*>(at(i, 0)), d_ * size());
    return result;
  }
  bool sentinels_intact() const {
    std::vector<uint8_t> copy = bytes_;
    for (int64_t i = 0; i < n_; ++i) std::memset(copy.data() + (at(i, 0) - bytes_.data()), kSentinel, d_ * size());
    for (uint8_t byte : copy)
      if (byte != kSentinel) return false;
    return true;
  }

 private:
  static constexpr uint8_t kSentinel = 0x5a;
  int64_t size() const { return dtype_ == DType::kF32 ? 4 : 2; }
  const uint8_t* at(int64_t i, int64_t j) const { return bytes_.data() + (i * stride_ + left_ + j) * size(); }
  template <typename T>
  void write(int64_t i, int64_t j, T value) {
    std::memcpy(const_cast<uint8_t*>(at(i, j)), &value, sizeof value);
  }
  template <typename T>
  T read(int64_t i, int64_t j) const {
    T value;
    std::memcpy(&value, at(i, j), sizeof value);
    return value;
  }

  DType dtype_;
  int64_t n_, d_, left_, stride_;
  std::vector<uint8_t> bytes_;
};

inline Doubles doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }
inline std::vector<float> floats(const Doubles& values) { return {values.begin(), values.end()}; }
inline std::string bits(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Half a unit in the last place of T, relative, and a little for f32 arithmetic.
inline double rounding(DType dtype) {
  return dtype == DType::kF32 ? 1e-6 : dtype == DType::kBF16 ? 0x1.02p-8 : 0x1.02p-11;
}

// |got - want| <= relative * |want| + absolute everywhere.
inline void expect_close(const Doubles& got, const Doubles& want, double relative, double absolute,
                         const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_LE(std::abs(got[i] - want[i]), relative * std::abs(want[i]) + absolute)
        << what << "[" << i << "] is " << got[i] << ", reference " << want[i];
}

// |got - want| <= relative * |want| as vectors.
inline void expect_norm_close(const Doubles& got, const Doubles& want, double relative, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  ASSERT_LE(std::sqrt(error), relative * std::sqrt(norm) + 1e-30) << what;
}

// Checks a hand-written gradient by one random direction: dy . (f(x + hu) - f(x - hu)) / 2h = grad . u
template <typename Function>
void expect_gradient(const Function& f, const Doubles& x, const Doubles& dy, const Doubles& gradient,
                     const std::string& what) {
  const Doubles direction = random_doubles(static_cast<int64_t>(x.size()), 99);
  const double h = 1e-5;
  Doubles above = x, below = x;
  for (size_t i = 0; i < x.size(); ++i) {
    above[i] += h * direction[i];
    below[i] -= h * direction[i];
  }
  const double numeric = (dot(dy, f(above)) - dot(dy, f(below))) / (2 * h), exact = dot(gradient, direction);
  EXPECT_NEAR(numeric, exact, 1e-6 * (1 + std::abs(exact))) << what;
}

// run(threads, left) -> the bits of all results; they must not depend on the number of threads or the alignment.
template <typename Run>
void expect_invariant(const Run& run) {
  const std::string expected = run(1, 0);
  for (int threads : {1, 2, 3})
    for (int left : {0, 1, 3, 8})
      EXPECT_EQ(run(threads, left) == expected, true) << threads << " threads, at " << left;
}

// Every test runs for each instruction set that the machine has, and each dtype.
class SimdTest : public testing::TestWithParam<std::tuple<Isa, DType>> {
 protected:
  const SimdFunctions& f() const { return simd_functions(std::get<0>(GetParam())); }
  Isa isa() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }
  int64_t element_bytes() const { return dtype() == DType::kF32 ? 4 : 2; }
};

// Every instruction set.
class IsaTest : public testing::TestWithParam<Isa> {
 protected:
  const SimdFunctions& f() const { return simd_functions(GetParam()); }
};

inline std::string simd_test_name(const testing::TestParamInfo<std::tuple<Isa, DType>>& info) {
  return std::string(name(std::get<0>(info.param))) + "_" + std::string(trine::name(std::get<1>(info.param)));
}
inline std::string isa_test_name(const testing::TestParamInfo<Isa>& info) { return std::string(name(info.param)); }

#define TRINE_INSTANTIATE_SIMD(suite)                                                                 \
  INSTANTIATE_TEST_SUITE_P(Each, suite,                                                               \
                           testing::Combine(testing::ValuesIn(available_isas()),                      \
                                            testing::Values(DType::kF32, DType::kBF16, DType::kF16)), \
                           simd_test_name)
#define TRINE_INSTANTIATE_ISA(suite) \
  INSTANTIATE_TEST_SUITE_P(Each, suite, testing::ValuesIn(available_isas()), isa_test_name)

}  // namespace trine::cpu::simd_test
