// plan_llama: what a cluster is, and what it can do.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/program.h"
#include "examples/commands.h"
#include "examples/plan_commands.h"

namespace trine {

void add_cluster_flags(CLI::App& app, std::string& cluster, std::vector<std::string>& changes) {
  app.add_option("--cluster", cluster,
                 "a built-in profile, or a file; plan_llama clusters lists them (default: " + cluster + ")")
      ->type_name("NAME|FILE")
      ->group("Cluster");
  app.add_option("--set", changes, "another number of the profile, such as network.nic_gb_per_s=25; repeatable")
      ->type_name("PATH=NUMBER")
      ->allow_extra_args(false)
      ->group("Cluster");
}

ExitCode plan_clusters(int argc, const char* const* argv) {
  std::vector<std::string> names;
  bool as_json = false;
  CLI::App app("The built-in profiles, or those of files.", "plan_llama clusters");
  app.add_option("CLUSTER", names, "names of built-in profiles, or files (default: all built-in ones)")
      ->type_name("NAME|FILE...");
  app.add_flag("--json", as_json, "whole profiles, each number with its source; any of them saved is a FILE");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return ExitCode::kOk;
  problems.throw_if_any();
  std::vector<Profile> profiles;
  for (const std::string& name : names.empty() ? built_in_profiles() : names)
    profiles.push_back(load_profile(name));
  if (!as_json) {
    say(stdout, "{}", profile_table(profiles));
    return ExitCode::kOk;
  }
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const Profile& profile : profiles) array.push_back(to_json(profile));
  say(stdout, "{}\n", array.dump(2));
  return ExitCode::kOk;
}

namespace {

constexpr ProgramCommand kCommands[] = {
    {"layouts", "which layout trains a model fastest; the word may be left out: plan_llama --model ...",
     plan_layouts},
    {"clusters", "the built-in clusters in numbers, or those of files", plan_clusters},
    {"inference", "how fast devices that share a model write text, for how many, for how much", plan_inference},
    {"failures", "what failures cost a run: progress, checkpoints, spare hosts, days, energy, money",
     plan_failures},
    {"article", "the claims of \"A100/H100 are too expensive, why not use 4090?\", one by one", plan_article},
};

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  return trine::run_program("plan_llama", "Which layout trains fastest, and what clusters can do.",
                            trine::kCommands, argc, argv, "layouts");
}
