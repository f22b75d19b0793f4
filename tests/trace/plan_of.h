// The plan that train_llama makes of its flags.
#pragma once

#include <sstream>

#include "plan/config/flags.h"
#include "plan/plan.h"

namespace trine::testing {

inline Plan plan_of(int ranks, const std::string& flags) {
  std::istringstream stream("train_llama " + flags);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  const LaunchInfo launch{.num_ranks = ranks, .ranks_on_host = ranks, .cores = 1, .time = "now"};
  return build_plan(
      std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), launch, "test")));
}

}  // namespace trine::testing
