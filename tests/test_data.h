// Where the files of tests/data lie: where the build was configured, unless the environment's TRINE_TEST_DATA says
// otherwise, for tests that were built on another machine.
#pragma once

#include <cstdlib>
#include <string>

namespace trine {

inline std::string test_data() {
  const char* const elsewhere = std::getenv("TRINE_TEST_DATA");
  return elsewhere != nullptr ? elsewhere : TRINE_TEST_DATA;
}

}  // namespace trine
