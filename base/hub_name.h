// Names of models on the Hugging Face Hub, where a folder is needed: nothing is downloaded here.
#pragma once

#include <string>

namespace trine {

// What to do, as a sentence with a space before it, if `path` does not exist and looks like such a name
// ("meta-llama/Llama-2-7b-hf") or a URL; else nothing.
std::string hub_hint(const std::string& path);

}  // namespace trine
