// What --version prints: version, commit, compiler, libraries, and whether CUDA is in.
#pragma once

#include <string>

namespace trine {

std::string version_text();
std::string version_number();  // "0.1.0"
std::string version_commit();

}  // namespace trine
