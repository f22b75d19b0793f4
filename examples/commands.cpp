#include "examples/commands.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/program.h"
#include "examples/version.h"

namespace trine {
namespace {

ExitCode run(const std::string& overview, std::span<const ProgramCommand> commands, int argc,
             const char* const* argv, std::string_view of_flags) {
  const std::string_view word = argc > 1 ? argv[1] : "";
  for (const ProgramCommand& command : commands)
    if (word == command.name) return command.run(argc - 1, argv + 1);
  if (word == "--help" || word == "-h") {
    say(stdout, "{}", overview);
    return ExitCode::kOk;
  }
  if (word == "--version") {
    say(stdout, "{}\n", version_text());
    return ExitCode::kOk;
  }
  if (word.starts_with('-'))
    for (const ProgramCommand& command : commands)
      if (command.name == of_flags) return command.run(argc, argv);
  throw ConfigError(word.empty() ? "[flags] no command.\n" + overview
                                 : fmt::format("[flags] {} is no command.\n{}", word, overview));
}

}  // namespace

int run_program(const std::string& program, const std::function<ExitCode(int argc, const char* const* argv)>& run,
                int argc, const char* const* argv) {
  begin_program();
  try {
    const ExitCode code = run(argc, argv);
    check_said();
    return static_cast<int>(code);
  } catch (const std::exception& error) {
    say(stderr, "{}: {}\n", program, message_of(error));
    return static_cast<int>(exit_code_of(error));
  }
}

int run_program(const std::string& program, const std::string& what, std::span<const ProgramCommand> commands,
                int argc, const char* const* argv, std::string_view of_flags) {
  std::string overview = fmt::format("{0}\nUsage: {1} COMMAND ... ({1} COMMAND --help)\n", what, program);
  for (const ProgramCommand& command : commands)
    overview += fmt::format("  {:<10} {}\n", command.name, command.help);
  return run_program(
      program, [&](int count, const char* const* words) { return run(overview, commands, count, words, of_flags); },
      argc, argv);
}

}  // namespace trine
