#include "base/program.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

// The wait status of a child that returns what f() returns.
template <typename F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(f());
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(Program, ClosedStreamsGiveTheirNumbersToNoFile) {
  for (const int open_one : {-1, 0, 1, 2})
    EXPECT_EQ(in_child([&] {
                for (const int fd : {0, 1, 2})
                  if (fd != open_one) ::close(fd);
                begin_program();
                const int file = ::open("/dev/zero", O_RDONLY);
                char byte = 0;
                return file > 2 && (open_one == 0 || ::read(0, &byte, 1) == 0) &&
                               (open_one == 1 || ::write(1, "x", 1) == 1)
                           ? 0
                           : 1;
              }),
              0)
        << open_one;
}

TEST(Program, APipeThatClosesIsNoEnd) {
  EXPECT_EQ(in_child([] {
              int ends[2];
              if (::pipe(ends) != 0) return 1;
              ::close(ends[0]);
              begin_program();
              std::FILE* const stream = ::fdopen(ends[1], "w");
              say(stream, "one");
              say(stream, "{} {}", "two", 3);
              if (std::ferror(stream) == 0) return 2;
              check_said(stream);
              return 0;
            }),
            0);
}

TEST(Program, WhatCannotBePrintedIsAnErrorWhereItIsTheWork) {
  std::FILE* const full = std::fopen("/dev/full", "w");
  check_said(full);
  say(full, "text");
  testing::expect_error(ExitCode::kData, {"[output]"}, [&] { check_said(full); });
  std::fclose(full);
}

}  // namespace
}  // namespace trine
