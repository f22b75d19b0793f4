// What a command line says to flags that do not exist, the same in all programs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trine {

// "--layer is not a flag. Did you mean --layers?", or "'layer' is not a flag. ..." without dashes, as in a file.
// `word` has none.
std::string not_a_flag(std::string_view word, const std::vector<std::string>& known, std::string_view dashes);

// Adds a problem for each of the words of a command line that no flag took: unknown flags, and values that belong
// to none. The value behind an unknown flag is not worth a second complaint.
void complain_about_extras(const std::vector<std::string>& extras, const std::vector<std::string>& known,
                           Problems& problems);

}  // namespace trine
