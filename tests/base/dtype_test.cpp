// Conversions against their definition, exhaustively over all 16-bit patterns.
#include "base/dtype.h"

#include <cmath>
#include <gmock/gmock.h>
#include <limits>

namespace trine {
namespace {

// The value that a pattern of a format with these bits stands for (IEEE 754, section 3.4).
double value_of(uint16_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1, exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
  const double mantissa = std::ldexp(bits & ((1 << mantissa_bits) - 1), -mantissa_bits),
               sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  return sign * (exponent == 0 ? std::ldexp(mantissa, 1 - bias) : std::ldexp(1 + mantissa, exponent - bias));
}

struct Format {
  const char* name;
  int exponent_bits, mantissa_bits;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
};

const Format kFormats[] = {
    {"bf16", 8, 7, [](uint16_t b) { return to_float(BFloat16{b}); }, [](float x) { return to_bf16(x).bits; }},
    {"f16", 5, 10, [](uint16_t b) { return to_float(Float16{b}); }, [](float x) { return to_f16(x).bits; }},
};

class SixteenBits : public testing::TestWithParam<Format> {};

TEST_P(SixteenBits, WidenExactlyAndRoundTrip) {
  const Format& f = GetParam();
  for (int bits = 0; bits < 0x10000; ++bits) {
    const auto pattern = static_cast<uint16_t>(bits);
    const double want = value_of(pattern, f.exponent_bits, f.mantissa_bits);
    const float got = f.widen(pattern);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << bits;
      ASSERT_TRUE(std::isnan(f.widen(f.narrow(got)))) << bits << ": a NaN stays one";
    } else {
      ASSERT_EQ(got, want) << bits;
      ASSERT_EQ(std::signbit(got), std::signbit(want)) << bits;
      ASSERT_EQ(f.narrow(got), pattern);
    }
  }
}

// Between each pair of neighbours: halfway goes to the even one, anything nearer to the nearer.
TEST_P(SixteenBits, RoundToNearestEven) {
  const Format& f = GetParam();
  const uint16_t infinity = static_cast<uint16_t>(((1 << f.exponent_bits) - 1) << f.mantissa_bits);
  for (uint16_t bits = 0; bits < infinity; ++bits) {
    const auto next = static_cast<uint16_t>(bits + 1);
    const double low = value_of(bits, f.exponent_bits, f.mantissa_bits);
    // Past the largest number stands the one that the format would hold next, were it not infinity.
    const double high =
        next == infinity ? low + (low - value_of(static_cast<uint16_t>(bits - 1), f.exponent_bits, f.mantissa_bits))
                         : value_of(next, f.exponent_bits, f.mantissa_bits);
    const auto half = static_cast<float>((low + high) / 2);
    if (half != (low + high) / 2) continue;  // f32 has no such number (bf16's smallest)
    for (float sign : {1.0f, -1.0f}) {
      const uint16_t sign_bit = sign < 0 ? 0x8000 : 0;
      ASSERT_EQ(f.narrow(sign * half), (bits % 2 == 0 ? bits : next) | sign_bit) << half;
      ASSERT_EQ(f.narrow(sign * std::nextafter(half, 0.0f)), bits | sign_bit) << half;
      ASSERT_EQ(f.narrow(sign * std::nextafter(half, std::numeric_limits<float>::infinity())), next | sign_bit)
          << half;
    }
  }
}

TEST_P(SixteenBits, OverflowToInfinityAndKeepSigns) {
  const Format& f = GetParam();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(f.widen(f.narrow(std::numeric_limits<float>::max())), infinity);
  EXPECT_EQ(f.widen(f.narrow(-std::numeric_limits<float>::max())), -infinity);
  EXPECT_EQ(f.widen(f.narrow(-infinity)), -infinity);
  EXPECT_EQ(f.narrow(-0.0f), 0x8000);
  for (uint32_t nan : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0x7fc00000u})
    EXPECT_TRUE(std::isnan(f.widen(f.narrow(std::bit_cast<float>(nan))))) << nan;
}

INSTANTIATE_TEST_SUITE_P(Formats, SixteenBits, testing::ValuesIn(kFormats),
                         [](const auto& format) { return format.param.name; });

TEST(DType, HasNamesAndSizes) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kI32, DType::kI64, DType::kU8})
    EXPECT_EQ(parse_dtype(name(dtype)), dtype);
  EXPECT_EQ(parse_dtype("fp16"), DType::kF16);
  EXPECT_EQ(parse_dtype("fp32"), DType::kF32);
  EXPECT_EQ(parse_dtype("float"), std::nullopt);
  EXPECT_EQ(size_bytes(DType::kBF16), 2u);
  EXPECT_EQ(size_bytes(DType::kI64), 8u);
  EXPECT_FALSE(is_float(DType::kI32));
}

}  // namespace
}  // namespace trine
