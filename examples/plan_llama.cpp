// plan_llama: what a cluster is, and what it can do.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/exit_code.h"
#include "base/program.h"
#include "cluster/profile.h"
#include "examples/program_flags.h"

namespace trine {
namespace {

// plan_llama clusters [NAME|FILE...] [--json]
struct ClustersCommand {
  std::vector<std::string> names;
  bool json = false;

  void add_to(CLI::App& app) {
    CLI::App* const command = app.add_subcommand("clusters", "the built-in profiles, or those of files");
    command->add_option("CLUSTER", names, "names of built-in profiles, or files (default: all built-in ones)")
        ->type_name("NAME|FILE...");
    command->add_flag("--json", json, "whole profiles, each number with its source; any of them saved is a FILE");
    command->allow_extras();
  }

  void run() const {
    std::vector<Profile> profiles;
    for (const std::string& name : names.empty() ? built_in_profiles() : names)
      profiles.push_back(load_profile(name));
    if (!json) return say(stdout, "{}", profile_table(profiles));
    nlohmann::ordered_json array = nlohmann::ordered_json::array();
    for (const Profile& profile : profiles) array.push_back(to_json(profile));
    say(stdout, "{}\n", array.dump(2));
  }
};

int run(int argc, const char* const* argv) {
  CLI::App app("Clusters as files describe them.", "plan_llama");
  ClustersCommand clusters;
  clusters.add_to(app);
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return 0;
  if (app.get_subcommands().empty())
    problems.add("flags", "what to do is missing. Give a command: clusters. --help says more.");
  problems.throw_if_any();
  clusters.run();
  check_said();
  return 0;
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  trine::begin_program();
  try {
    return trine::run(argc, argv);
  } catch (const std::exception& error) {
    trine::say(stderr, "plan_llama: {}\n", trine::message_of(error));
    return static_cast<int>(trine::exit_code_of(error));
  }
}
