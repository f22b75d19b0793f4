#include "base/unknown_flags.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace trine {

std::string not_a_flag(std::string_view word, const std::vector<std::string>& known, std::string_view dashes) {
  const auto guess = nearest(word, known);
  const std::string spelled = dashes.empty() ? fmt::format("'{}'", word) : fmt::format("{}{}", dashes, word);
  return fmt::format("{} is not a flag. {}", spelled,
                     guess ? fmt::format("Did you mean {}{}?", dashes, *guess) : "--help lists them all.");
}

void complain_about_extras(const std::vector<std::string>& extras, const std::vector<std::string>& known,
                           Problems& problems) {
  bool after_flag = false;
  for (const std::string& extra : extras) {
    const bool is_flag = extra.size() > 1 && extra[0] == '-';
    const std::string spelled = extra.substr(0, extra.find('='));
    if (is_flag)
      problems.add(
          "flags", "{}",
          not_a_flag(spelled.substr(std::min(spelled.size(), spelled.find_first_not_of('-'))), known, "--"));
    else if (!after_flag)
      problems.add("flags", "'{}' belongs to no flag. --help lists them all.", extra);
    after_flag = is_flag;
  }
}

}  // namespace trine
