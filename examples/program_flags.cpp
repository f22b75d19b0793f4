#include "examples/program_flags.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/program.h"
#include "examples/version.h"
#include "plan/config/command_line.h"

namespace trine {
namespace {

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  return names;
}

// {"valid-fraction": 0.1, "greedy": true, "set": ["a=1", "b=2"]}, under what the command line says.
void take_flags(const std::string& file, CLI::App& app, Problems& problems) {
  std::vector<std::string> names = flag_names(app);
  std::erase_if(names,
                [](const std::string& name) { return name == "help" || name == "version" || name == "config"; });
  const nlohmann::json object = read_flags_file(file);
  for (const auto& [name, value] : object.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      problems.add(file, "{}", not_a_flag(name, names, ""));
      continue;
    }
    CLI::Option* option = app.get_option("--" + name);
    if (option->count() > 0) continue;
    try {
      for (const nlohmann::json& one : value.is_array() ? value : nlohmann::json::array({value}))
        option->add_result(one.is_string() ? one.get<std::string>() : one.dump());
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      problems.add(file, "{}.", error.what());
    }
  }
}

}  // namespace

bool parse_flags(CLI::App& app, int argc, const char* const* argv, Problems& problems) {
  const Words words = parse_words(app, argc, argv, version_text());
  if (words.request) {
    say(stdout, "{}\n", words.request->text);
    return false;
  }
  complain_about_extras(app.remaining(), flag_names(app), problems);
  if (!words.config_file.empty()) take_flags(words.config_file, app, problems);
  return true;
}

}  // namespace trine
