// What every program does first, and how it prints: neither the terminal nor the pipe behind it
// decides over the work.
#pragma once

#include <cstdio>
#include <fmt/core.h>
#include <string>
#include <string_view>
#include <utility>

namespace trine {

// To be called first in main(). Standard streams that came closed become /dev/null: the next files would get their
// numbers, and what is printed would stand in them. A pipe that nobody reads any more and a limit of file sizes
// become errors of the write that meets them, where SIGPIPE and SIGXFSZ would end the program.
void begin_program();

// Prints at once. What cannot be printed is dropped.
void say(std::FILE* stream, std::string_view text);
template <typename... Args>
requires(sizeof...(Args) > 0) void say(std::FILE* stream, fmt::format_string<Args...> format, Args&&... args) {
  say(stream, std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

std::string host_name();  // of the machine, as its system says it

// For programs whose work is what they print. DataError if `stream` could not take all of it: a full disk. A reader
// that had enough and closed its pipe is no error.
void check_said(std::FILE* stream = stdout);

}  // namespace trine
