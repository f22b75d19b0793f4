// Programs whose first word says what to do: checkpoint_tool ls, plan_llama clusters.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/exit_code.h"

namespace trine {

struct ProgramCommand {
  std::string_view name, help;
  ExitCode (*run)(int argc, const char* const* argv);  // argv[0] is the command's name
};

// The whole of main(): runs the command, or prints the overview or the version. Errors go to stderr. The exit code.
int run_program(const std::string& program, const std::string& what, std::span<const ProgramCommand> commands,
                int argc, const char* const* argv);

}  // namespace trine
