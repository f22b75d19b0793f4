// How each type of value in Config is written: one parser and one printer, for the command line and for JSON alike.
#pragma once

#include <charconv>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/text.h"
#include "plan/config/config.h"

namespace trine {

enum class JsonKind { kNumber, kBool, kText, kNumberOrText, kList };

// ValueText<T>: kKind, needs() ("an integer"), parse(text) and print(value), with parse(print(v)) == v.
template <typename T>
struct ValueText;

template <typename T>
requires std::is_arithmetic_v<T>
struct ValueText<T> {
  static constexpr JsonKind kKind = JsonKind::kNumber;
  static std::string needs() { return std::is_integral_v<T> ? "an integer" : "a number"; }
  static std::optional<T> parse(std::string_view text) {
    if constexpr (std::is_integral_v<T>) {
      const std::optional<int64_t> value = parse_integer(text);
      return value && std::in_range<T>(*value) ? std::optional(static_cast<T>(*value)) : std::nullopt;
    } else {
      if (text.starts_with('+')) text.remove_prefix(1);
      T value{};
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
      if (value - value != 0) return std::nullopt;  // from_chars reads "inf" and "nan"
      return value;
    }
  }
  static std::string print(T value) { return fmt::format("{}", value); }
};

template <>
struct ValueText<bool> {
  static constexpr JsonKind kKind = JsonKind::kBool;
  static std::string needs() { return "on or off"; }
  static std::optional<bool> parse(std::string_view text);
  static std::string print(bool value) { return value ? "on" : "off"; }
};

template <>
struct ValueText<std::string> {
  static constexpr JsonKind kKind = JsonKind::kText;
  static std::string needs() { return "some text"; }
  static std::optional<std::string> parse(std::string_view text) { return std::string(text); }
  static std::string print(const std::string& value) { return value; }
};

template <NamedEnum E>
struct ValueText<E> {
  static constexpr JsonKind kKind = JsonKind::kText;
  static std::string needs() { return fmt::format("one of {}", fmt::join(enum_names(E{}), ", ")); }
  static std::optional<E> parse(std::string_view text) { return parse_enum<E>(text); }
  static std::string print(E value) { return std::string(name(value)); }
};

#define TRINE_VALUE_TEXT(T, kind)                         \
  template <>                                             \
  struct ValueText<T> {                                   \
    static constexpr JsonKind kKind = JsonKind::kind;     \
    static std::string needs();                           \
    static std::optional<T> parse(std::string_view text); \
    static std::string print(const T& value);             \
  };
TRINE_VALUE_TEXT(DType, kText)
TRINE_VALUE_TEXT(LossScale, kNumberOrText)
TRINE_VALUE_TEXT(Recompute, kText)
TRINE_VALUE_TEXT(TraceSteps, kText)
TRINE_VALUE_TEXT(RankList, kNumberOrText)
TRINE_VALUE_TEXT(Bytes, kNumberOrText)
TRINE_VALUE_TEXT(RopeScaling, kText)
TRINE_VALUE_TEXT(std::vector<int>, kNumberOrText)
#undef TRINE_VALUE_TEXT

}  // namespace trine
