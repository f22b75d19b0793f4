// From an exception to what a program returns and says: for main(), and for who reports in its stead.
#pragma once

#include <exception>
#include <string>

#include "base/error.h"

namespace trine {

// An Error's own; out of memory (4), also where there is no room for another thread; 3 for what the system refused,
// such as an error of std::filesystem; else 1.
ExitCode exit_code_of(const std::exception& error);
std::string message_of(const std::exception& error);

}  // namespace trine
