// Whether a text for people says more than the JSON it was made of: each number of the text must be one of the JSON's, in the
// unit that the text has it in, rounded as it is printed.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace trine::testing {

struct HeldNumbers {
  std::vector<double> numbers;
  std::vector<std::string> strings;
};

// "2,048", "17.3", "7.28e+03", as they stand in a text.
inline std::vector<std::string> numbers_in(const std::string& text) {
  std::vector<std::string> words;
  const auto is_digit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_digit(i)) continue;
    const size_t begin = i;
    while (is_digit(i) || (i < text.size() && text[i] == ',' && is_digit(i + 1))) ++i;
    if (i < text.size() && text[i] == '.' && is_digit(i + 1))
      for (++i; is_digit(i);) ++i;
    if (i + 1 < text.size() && text[i] == 'e' && (text[i + 1] == '+' || text[i + 1] == '-') && is_digit(i + 2))
      for (i += 2; is_digit(i);) ++i;
    words.push_back(text.substr(begin, i - begin));
  }
  return words;
}

template <typename Json>
void collect(const Json& json, HeldNumbers& held) {
  if (json.is_number()) held.numbers.push_back(json.template get<double>());
  if (json.is_string()) held.strings.push_back(json.template get<std::string>());
  if (json.is_structured())
    for (const auto& item : json.items()) {
      if (json.is_object()) held.strings.push_back(item.key());
      collect(item.value(), held);
    }
}

// The numbers of `text` that `json` does not hold. `plain`: those of the text's own words, such as "3" of "3 years".
template <typename Json>
std::vector<std::string> not_held(const std::string& text, const Json& json,
                                  const std::vector<std::string>& plain) {
  HeldNumbers held;
  collect(json, held);
  // As shares in percent, in GiB, in MiB, in GB, in thousands, in trillions, in ms, in minutes of hours, in hours and
  // minutes of days.
  constexpr double kUnits[] = {1,    100, 1.0 / (1 << 30), 1.0 / (1 << 20), 1e-9, 1e-3, 1e-12, 1e3, 60, 1e6,
                               1e-6, 24,  24 * 60};
  std::vector<std::string> missing;
  for (const std::string& word : numbers_in(text)) {
    std::string digits = word;
    std::erase(digits, ',');
    const size_t point = digits.find('.'), exponent = digits.find('e');
    const double value = std::stod(digits);
    const auto decimals = point == digits.npos ? 0 : std::min(digits.size(), exponent) - point - 1;
    double half = 0.5 * std::pow(10, -static_cast<double>(decimals));
    if (exponent != digits.npos) half *= std::pow(10, std::stod(digits.substr(exponent + 1)));
    bool found = std::ranges::find(plain, word) != plain.end();
    for (const std::string& one : held.strings) found |= one.find(word) != one.npos;
    for (const double one : held.numbers)
      for (const double unit : kUnits) {
        const double shown = std::abs(one) * unit;
        // Whole numbers of four digits and more may be cut off instead of rounded.
        found |= std::abs(shown - value) <= half * (1 + 1e-9) || (shown >= 1000 && std::floor(shown) == value);
      }
    if (!found) missing.push_back(word);
  }
  return missing;
}

}  // namespace trine::testing
