// What --version prints: version, commit, compiler, libraries, and whether CUDA is in.
#pragma once

#include <string>

namespace trine {

std::string version_text();

}  // namespace trine
