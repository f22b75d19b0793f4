// main() of the programs that need no other rank. The first word of some says what to do: checkpoint_tool ls,
// plan_llama clusters.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/exit_code.h"

namespace trine {

// The whole of main(): runs it. Errors go to stderr. The exit code.
int run_program(const std::string& program, const std::function<ExitCode(int argc, const char* const* argv)>& run,
                int argc, const char* const* argv);

struct ProgramCommand {
  std::string_view name, help;
  ExitCode (*run)(int argc, const char* const* argv);  // argv[0] is the command's name
};

// The same for commands: runs the one that is named, or prints the overview or the version. `of_flags`: the command of a
// line that begins with a flag; none: that is an error.
int run_program(const std::string& program, const std::string& what, std::span<const ProgramCommand> commands,
                int argc, const char* const* argv, std::string_view of_flags = "");

}  // namespace trine
