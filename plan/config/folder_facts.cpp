#include "plan/config/folder_facts.h"

#include <algorithm>
#include <filesystem>

namespace trine {

void add_tokenizer_of_folder(GivenFlags& given, const FolderFacts& facts) {
  if (given.contains("tokenizer") || !facts.has_tokenizer) return;
  for (const char* flag : {"load-weights", "model"}) {
    const auto it = given.find(flag);
    if (it == given.end()) continue;
    std::filesystem::path folder = it->second.texts.back();
    if (folder.extension() == ".json") folder = folder.has_parent_path() ? folder.parent_path() : ".";
    if (!facts.has_tokenizer(folder.string())) continue;
    given["tokenizer"] = {{folder.string()}, it->second.where};
    return;
  }
}

void take_text_ids(const GivenFlags& given, const FolderFacts& facts, Config& config) {
  const bool takes_begin = !given.contains("bos"), takes_end = !given.contains("eos");
  if (!given.contains("tokenizer") || !facts.text_ids || !(takes_begin || takes_end)) return;
  TextIds ids = facts.text_ids(config.tokenizer);
  std::erase_if(ids.ends, [&](int id) { return id >= config.model.vocab; });
  if (takes_begin && 0 <= ids.begin && ids.begin < config.model.vocab) config.model.bos = ids.begin;
  if (takes_end && !ids.ends.empty()) config.model.eos = ids.ends;
}

}  // namespace trine
