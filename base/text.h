// Small helpers for what people type and read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trine {

std::string format_bytes(int64_t bytes);                    // "21.3 GiB"
std::string format_count(int64_t count);                    // "1,234,567"
std::string format_duration(double seconds);                // "27m", "1h 03m", "42s"
std::optional<int64_t> parse_bytes(std::string_view text);  // "22GiB", "500M" (= MiB), "1024"
// The integer that a decimal number is: "1000", "-5", "1e3", "2.5e4", "3.0"; nothing if it is none ("1.5", "1e-3"),
// or does not fit. Exact: "9007199254740993e0" is not rounded.
std::optional<int64_t> parse_integer(std::string_view text);

// The candidate nearest to `word` by edit distance, if it is near enough to be a typo.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace trine
