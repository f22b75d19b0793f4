#include "base/program.h"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/error.h"

namespace trine {

void begin_program() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", O_RDWR);  // gets the lowest number that is free: fd
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void say(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

void check_said(std::FILE* stream) {
  std::fflush(stream);
  if (std::ferror(stream) == 0) return;
  pollfd pipe{::fileno(stream), POLLOUT, 0};
  if (::poll(&pipe, 1, 0) == 1 && (pipe.revents & (POLLERR | POLLHUP)) != 0) return;  // its reader is gone
  throw DataError(
      "[output] what is printed could not all be written. Free space where it goes, or send it elsewhere.");
}

}  // namespace trine
