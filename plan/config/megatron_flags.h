// The flags of Megatron-LM's command lines that are no other names of ours (those stand in flag_table.cpp): what
// each means here. A line that trains a LLaMA there is understood, or each of its flags that
// cannot be is refused by name.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "plan/config/flag_table.h"

namespace trine {

struct MegatronFlag {
  enum class Takes { kNothing, kValue, kList };
  // Of one source (the command line, or a file): all that was given, ours and Megatron's, by name.
  struct Line {
    const GivenFlags& ours;
    const GivenFlags& megatron;
  };
  // Our flags, or a sentence that says why not and what to say instead; neither, if it holds here anyway.
  struct Meaning {
    std::vector<std::pair<std::string_view, std::vector<std::string>>> flags;
    std::string refusal;
  };

  std::string_view group;
  std::string_view name;  // without dashes
  Takes takes = Takes::kNothing;
  std::string help;  // what becomes of it
  std::function<Meaning(const std::vector<std::string>& texts, const Line& line)> meaning;
};

std::span<const MegatronFlag> megatron_flags();
const MegatronFlag* find_megatron_flag(std::string_view name);  // nullptr if there is none

// Adds to `ours` what `megatron` (by the names above) means.
// Problems: what is refused, and what contradicts `ours`.
void add_megatron_flags(GivenFlags& ours, const GivenFlags& megatron, Problems& problems);

// --help-megatron: the whole table, and the other names of our flags.
std::string megatron_help();

}  // namespace trine
