#include "base/terminal.h"

#include <cstdlib>
#include <string_view>
#include <unistd.h>

namespace trine {

bool can_erase_lines(int fd) {
  const char* terminal = std::getenv("TERM");
  return ::isatty(fd) == 1 && (terminal == nullptr || std::string_view(terminal) != "dumb");
}

}  // namespace trine
