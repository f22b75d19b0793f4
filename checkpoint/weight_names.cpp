#include "checkpoint/weight_names.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <set>

namespace trine {
namespace {

using Names = std::set<std::string, std::less<>>;

constexpr size_t kMostLines = 8;

// What programs put around a model, and so into its names.
constexpr const char* kWrappers[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                     "_forward_module.", "module."};

// Parts of names that tell another form of the weights.
constexpr std::pair<const char*, const char*> kOtherForms[] = {
    {"tok_embeddings.",
     "the names are those of Meta's own files. Convert them with transformers "
     "(convert_llama_weights_to_hf.py), or take the repository that ends in -hf."},
    {".lora_", "this is a LoRA adapter, not a model. Merge it into its model first (peft: merge_and_unload)."},
    {".qweight", "the weights are quantised. Take the model in bf16, f16 or f32."},
    {".weight_scale", "the weights are quantised. Take the model in bf16, f16 or f32."},
    {".qkv_proj.", "q, k and v are one tensor (qkv_proj). Split it into q_proj, k_proj and v_proj."},
};

bool is_most(size_t count, const Names& names) { return 2 * count > names.size(); }

std::string without(std::string name, std::string_view part) {
  for (size_t at; (at = name.find(part)) != std::string::npos;) name.erase(at, part.size());
  return name;
}

constexpr const char* kUnwrap =
    "Save the model itself, not what wraps it (torch.compile, DistributedDataParallel, another module), or rename.";

// A prefix P so that all names are P and one of the model's.
std::optional<std::string> explain_prefix(const Names& names, const Names& model) {
  const std::string& first = *names.begin();
  for (const std::string& wanted : model) {
    if (!first.ends_with("." + wanted)) continue;
    const std::string prefix = first.substr(0, first.size() - wanted.size());
    size_t known = 0;
    const bool all = std::ranges::all_of(names, [&](const std::string& name) {
      known += name.starts_with(prefix) && model.contains(name.substr(prefix.size()));
      return name.starts_with(prefix);
    });
    if (all && is_most(known, names))
      return fmt::format("all names begin with \"{}\": \"{}\" is there for \"{}\". {}", prefix, first, wanted,
                         kUnwrap);
  }
  return std::nullopt;
}

std::optional<std::string> explain(const Names& names, const Names& model) {
  if (names.empty()) return "there are no tensors.";
  if (const auto prefix = explain_prefix(names, model)) return prefix;
  if (is_most(static_cast<size_t>(
                  std::ranges::count_if(names, [&](const auto& name) { return model.contains("model." + name); })),
              names))
    return fmt::format(
        "no name begins with \"model.\": \"{}\" is there for \"model.{}\". These are the layers without "
        "the head (LlamaModel): save the LlamaForCausalLM.",
        *names.begin(), *names.begin());
  for (const auto& [part, why] : kOtherForms)
    if (std::ranges::any_of(names, [&, part = part](const auto& name) { return name.find(part) != name.npos; }))
      return why;
  for (const char* wrapper : kWrappers) {
    size_t known = 0;
    const std::string* example = nullptr;
    for (const std::string& name : names) {
      const std::string plain = without(name, wrapper);
      known += model.contains(plain);
      if (!example && plain != name && model.contains(plain)) example = &name;
    }
    if (example && is_most(known, names))
      return fmt::format("names contain \"{}\", as in \"{}\". {}", wrapper, *example, kUnwrap);
  }
  return std::nullopt;
}

}  // namespace

std::string misfit(const std::map<std::string, Shape>& weights, const std::vector<Parameter>& parameters) {
  Names names, model;
  for (const auto& [name, shape] : weights)
    if (!name.ends_with("rotary_emb.inv_freq")) names.insert(name);
  for (const Parameter& parameter : parameters) model.insert(parameter.name);
  const bool tied = !model.contains(kHead);
  const bool head_is_embedding = tied && !names.contains(kEmbedding) && names.contains(kHead);

  std::vector<std::string> problems;
  bool names_differ = false;
  for (const Parameter& parameter : parameters) {
    const bool by_head = head_is_embedding && parameter.name == kEmbedding;
    const auto found = weights.find(by_head ? kHead : parameter.name);
    if (found == weights.end()) {
      const bool maybe_tied = parameter.name == kHead && weights.contains(kEmbedding);
      names_differ = names_differ || !maybe_tied;
      problems.push_back(parameter.name + (maybe_tied
                                               ? " is missing (if the head uses the embedding, config.json needs "
                                                 "\"tie_word_embeddings\": true)"
                                               : " is missing"));
    } else if (found->second != parameter.shape) {
      problems.push_back(fmt::format("{} has shape {}, the model needs {}", found->first, to_string(found->second),
                                     to_string(parameter.shape)));
    }
  }
  if (tied) model.insert(kHead);
  for (const std::string& name : names)
    if (!model.contains(name)) problems.push_back(name + " is no parameter of this model"), names_differ = true;
  if (problems.empty()) return "";
  if (names_differ)
    if (const auto cause = explain(names, model)) return "\n  " + *cause;
  std::string text;
  for (size_t i = 0; i < std::min(problems.size(), kMostLines); ++i) text += "\n  " + problems[i];
  return text + (problems.size() > kMostLines ? fmt::format("\n  and {} more", problems.size() - kMostLines) : "");
}

}  // namespace trine
