// How numbers of any size look in a sentence.
#pragma once

#include <string>

namespace trine {

// "1,234", "0.0175", "5.41": four digits, and all of larger whole numbers.
std::string short_number(double value);

}  // namespace trine
