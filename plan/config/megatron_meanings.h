// What single flags of Megatron-LM mean, where that depends on their value or on others of the
// line. Only for megatron_flags.cpp.
#pragma once

#include "plan/config/megatron_flags.h"

namespace trine::megatron {

using Line = MegatronFlag::Line;
using Meaning = MegatronFlag::Meaning;
using Texts = std::vector<std::string>;

Meaning holds();  // it is so here anyway
Meaning refuse(std::string why);
Meaning say(std::string_view flag, std::string text);
std::optional<double> number(const std::string& text);

Meaning split(const Texts& texts, const Line& line);      // --split
Meaning data_path(const Texts& texts, const Line& line);  // --data-path
Meaning load(const Texts& texts, const Line& line);       // --load
Meaning profile(const Texts& texts, const Line& line);    // --profile
// Samples as steps of our `flag`.
Meaning samples(std::string_view flag, const Texts& texts, const Line& line);
Meaning decay_iters(const Texts& texts, const Line& line);
Meaning decay_samples(const Texts& texts, const Line& line);
Meaning recompute_granularity(const Texts& texts, const Line& line);
Meaning virtual_stages(const Texts& texts, const Line& line);
Meaning layers_of_virtual_stage(const Texts& texts, const Line& line);
// One of the two ends of the pipeline that count as a layer; `other` is the flag of the other.
Meaning both_ends(std::string_view other, const Line& line);
Meaning padded_vocabulary(const Texts& texts, const Line& line);
Meaning rope_scaling(const Texts& texts, const Line& line);
// A number of fp16's dynamic loss scale, of which there is one here; other types ignore it.
Meaning loss_scale(double only, const char* why, const Texts& texts, const Line& line);
// A flag that says more about `other`.
Meaning part_of(std::string_view other, const char* otherwise, const Line& line);

}  // namespace trine::megatron
