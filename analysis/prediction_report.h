// A prediction as text and as JSON. Whatever number the text says stands in the JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "analysis/prediction.h"

namespace trine {

// Why the step is so long, and what helps: plain sentences, the first lines of the text. Empty where nobody knows
// where the time goes (more ranks than cores).
std::vector<std::string> answer(const Prediction& prediction);
// "from 96 GB/s ...": what links would have to reach.
std::vector<std::string> threshold_sentences(const Outlook& outlook);

std::string prediction_text(const Prediction& prediction);
nlohmann::ordered_json prediction_json(const Prediction& prediction);

// Also of a measured run's explanation.
nlohmann::ordered_json explained_json(const std::vector<ExplainedPart>& parts);
nlohmann::ordered_json outlook_json(const Outlook& outlook);
std::string what_if_text(const std::vector<WhatIf>& list, double step_s);

}  // namespace trine
