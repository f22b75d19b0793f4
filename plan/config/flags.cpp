#include "plan/config/flags.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "plan/config/flag_table.h"
#include "plan/config/megatron_flags.h"

namespace trine {
namespace {

using nlohmann::json;

constexpr const char* kDescription =
    "Trains a LLaMA model. Without flags: the preset tiny on Debian's jargon-text.";

std::vector<std::string> flag_names(bool on_command_line) {
  std::vector<std::string> names;
  if (on_command_line) names = {"config", "help", "help-megatron", "version"};
  for (const Flag& flag : flag_table()) {
    names.emplace_back(flag.name);
    names.insert(names.end(), flag.aliases.begin(), flag.aliases.end());
  }
  return names;
}

// The texts of a JSON value, as they would stand on a command line; nothing if its type is wrong for the flag.
std::optional<std::vector<std::string>> texts_of(const Flag& flag, const json& value) {
  const JsonKind kind = flag.kind;
  if (kind == JsonKind::kList) {
    std::vector<std::string> texts;
    for (const json& item : value.is_array() ? value : json::array({value})) {
      if (!item.is_string()) return std::nullopt;
      texts.push_back(item.get<std::string>());
    }
    return texts;
  }
  const bool takes_number = kind == JsonKind::kNumber || kind == JsonKind::kNumberOrText;
  if (value.is_number() && takes_number) return std::vector{value.dump()};
  if (value.is_boolean() && kind == JsonKind::kBool)
    return std::vector<std::string>{value.get<bool>() ? "on" : "off"};
  if (value.is_string() && kind != JsonKind::kNumber) return std::vector{value.get<std::string>()};
  return std::nullopt;
}

std::string_view type_of(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNumber:
      return "a number";
    case JsonKind::kBool:
      return "true or false";
    case JsonKind::kText:
      return "a string";
    case JsonKind::kNumberOrText:
      return "a number or a string";
    case JsonKind::kList:
      return "a list of strings";
  }
  return "";
}

// What stands in a file for a flag of Megatron's; nothing for `false`, which is as good as not there.
std::optional<std::vector<std::string>> texts_of(const MegatronFlag& flag, const json& value, bool& fits) {
  using Takes = MegatronFlag::Takes;
  fits = flag.takes == Takes::kNothing ? value.is_boolean() : value.is_string() || value.is_number();
  if (flag.takes == Takes::kList && value.is_array()) fits = true;
  if (!fits || value == false) return std::nullopt;
  std::vector<std::string> texts;
  if (flag.takes == Takes::kNothing) return texts;
  for (const json& item : value.is_array() ? value : json::array({value}))
    texts.push_back(item.is_string() ? item.get<std::string>() : item.dump());
  return texts;
}

void read_megatron_flag(const MegatronFlag& flag, const json& value, const std::string& path, GivenFlags& megatron,
                        Problems& problems) {
  bool fits = false;
  if (auto texts = texts_of(flag, value, fits)) megatron[std::string(flag.name)] = {std::move(*texts), path};
  if (!fits)
    problems.add(path, "'{}' is {}; it needs {}.", flag.name, value.dump().substr(0, 40),
                 flag.takes == MegatronFlag::Takes::kNothing ? "true or false" : "a number or a string");
}

void read_flags(const json& object, const std::string& path, GivenFlags& given, Problems& problems) {
  GivenFlags megatron;
  for (const auto& [key, value] : object.items()) {
    const Flag* flag = find_flag(key);
    if (const MegatronFlag* other = flag ? nullptr : find_megatron_flag(key)) {
      read_megatron_flag(*other, value, path, megatron, problems);
    } else if (!flag) {
      problems.add(path, "{}", not_a_flag(key, flag_names(false), ""));
    } else if (auto texts = texts_of(*flag, value)) {
      if (!given.try_emplace(std::string(flag->name), GivenFlag{std::move(*texts), path}).second)
        problems.add(path, "'{}' is there twice, as {} and by another name. Keep one.", flag->name, key);
    } else {
      problems.add(path, "'{}' is {}; it needs {}.", key, value.dump().substr(0, 40), type_of(flag->kind));
    }
  }
  add_megatron_flags(given, megatron, problems);
}

// The command line's flags over the file's.
GivenFlags merge(GivenFlags line, GivenFlags file) {
  if (line.contains("model"))
    std::erase_if(file, [](const auto& e) { return find_flag(e.first)->group == "Model"; });
  if (line.contains("hidden") || line.contains("heads")) file.erase("head-dim");
  if (line.contains("tokenizer")) file.erase("bos"), file.erase("eos");
  line.merge(file);
  return line;
}

std::string last_text(const GivenFlags& given, std::string_view flag) {
  const auto it = given.find(flag);
  return it == given.end() ? "" : it->second.texts.back();
}

std::optional<ResumePoint> resume_point(const GivenFlags& given, const FindResumePoint& find) {
  if (!given.contains("resume")) return std::nullopt;
  const std::string model = last_text(given, "model");
  return find({.what = last_text(given, "resume"),
               .out = last_text(given, "out"),
               .save = last_text(given, "save"),
               .model = model.empty() ? "tiny" : model});
}

// A run goes on with its own configuration, under what is given now. What follows from the number of ranks or from
// the machine is found anew. A branch that gets another run folder gets another folder of checkpoints, too.
GivenFlags go_on_with(GivenFlags given, const ResumePoint& point, const LaunchInfo& launch, Problems& problems) {
  const auto weights = given.find("load-weights");
  if (weights != given.end() && weights->second.where == "flags" && last_text(given, "resume") != "auto")
    problems.add("flags", "--resume brings its own weights. Leave out --load-weights, or use --resume auto.");
  GivenFlags run;
  read_flags(point.config, point.config_file.string(), run, problems);
  for (const char* flag : {"threads", "dp", "eval-only", "load-weights", "trace", "quiet", "resume"})
    run.erase(flag);
  const bool known = !point.run_folder.empty();
  if (known) run.erase("out");
  if (!known || (given.contains("out") && last_text(given, "out") != point.run_folder)) run.erase("save");
  if (launch.num_ranks > 1) run.erase("local-ranks");
  if (given.contains("tp") || given.contains("pp"))
    for (const char* flag : {"sp", "zero", "vpp", "schedule"}) run.erase(flag);
  if (given.contains("lr") && !given.contains("min-lr")) run.erase("min-lr");
  given = merge(std::move(given), std::move(run));
  if (!given.contains("out") && known) given["out"] = {{point.run_folder.string()}, "--resume"};
  return given;
}

// What weights mean: the model, and the tokenizer of its ids.
GivenFlags with_model_of_weights(GivenFlags given, const FolderFacts& folders, Problems& problems) {
  const std::string folder = last_text(given, "load-weights");
  if (folder.empty() || !folders.saved_config) return given;
  const std::optional<json> config = folders.saved_config(folder);
  if (!config) return given;
  GivenFlags saved;
  read_flags(*config, folder, saved, problems);
  std::erase_if(saved,
                [](const auto& e) { return e.first != "tokenizer" && find_flag(e.first)->group != "Model"; });
  return merge(std::move(given), std::move(saved));
}

// The help with the default, where that is a plain value: those of presets and derived ones are told in words.
std::string help_text(const Flag& flag) {
  const std::optional<std::vector<std::string>> texts = flag.get(Config{});
  const bool plain = flag.group != "Model" && !flag.value.empty() && flag.kind != JsonKind::kList && texts;
  const bool told = !plain || texts->back().empty() || texts->back() == "0" ||
                    flag.help.find("default") != std::string_view::npos;
  return told ? std::string(flag.help) : fmt::format("{} (default: {})", flag.help, texts->back());
}

class Parser {
 public:
  Parser() : app_(kDescription, "train_llama") {
    app_.get_formatter()->column_width(46);
    app_.add_flag("--help-megatron")->description("how Megatron-LM's other flags are understood, and stop");
    for (const Flag& flag : flag_table()) add(flag);
    for (const MegatronFlag& flag : megatron_flags()) add(flag);
  }

  Words parse(int argc, const char* const* argv, const std::string& version_text) {
    Words words = parse_words(app_, argc, argv, version_text);
    if (!words.request && app_.count("--help-megatron") > 0) words.request = {megatron_help()};
    return words;
  }

  GivenFlags given(Problems& problems) const {
    GivenFlags given, megatron;
    for (const auto& [flag, option] : options_) {
      if (option->count() == 0) continue;
      std::vector<std::string> texts = option->results();
      if (flag->value.empty()) texts = {"on"};
      if (flag->value_if_bare && texts.back().empty()) texts.back() = *flag->value_if_bare;
      given[std::string(flag->name)] = {std::move(texts), "flags"};
    }
    for (const auto& [flag, option] : megatron_)
      if (option->count() > 0)
        megatron[std::string(flag->name)] = {
            flag->takes == MegatronFlag::Takes::kNothing ? std::vector<std::string>{} : option->results(), "flags"};
    add_megatron_flags(given, megatron, problems);
    return given;
  }
  std::vector<std::string> extras() const { return app_.remaining(); }

 private:
  void add(const Flag& flag) {
    std::string names = fmt::format("--{}", flag.name);
    for (const std::string_view alias : flag.aliases) names += fmt::format(",--{}", alias);
    CLI::Option* option =
        flag.value.empty() ? app_.add_flag(names) : app_.add_option(names)->type_name(std::string(flag.value));
    option->description(help_text(flag))->group(std::string(flag.group));
    option->multi_option_policy(flag.kind == JsonKind::kList ? CLI::MultiOptionPolicy::TakeAll
                                                             : CLI::MultiOptionPolicy::TakeLast);
    if (flag.kind == JsonKind::kList) option->expected(1, -1)->allow_extra_args();
    if (flag.value_if_bare) option->expected(0, 1);
    options_.emplace_back(&flag, option);
  }

  void add(const MegatronFlag& flag) {
    using Takes = MegatronFlag::Takes;
    const std::string name = fmt::format("--{}", flag.name);
    CLI::Option* option = flag.takes == Takes::kNothing ? app_.add_flag(name) : app_.add_option(name);
    option->group("");  // --help is long enough
    const bool list = flag.takes == Takes::kList;
    option->multi_option_policy(list ? CLI::MultiOptionPolicy::TakeAll : CLI::MultiOptionPolicy::TakeLast);
    if (list) option->expected(1, -1)->allow_extra_args();
    megatron_.emplace_back(&flag, option);
  }

  CLI::App app_;
  std::vector<std::pair<const Flag*, CLI::Option*>> options_;
  std::vector<std::pair<const MegatronFlag*, CLI::Option*>> megatron_;
};

}  // namespace

CommandLine parse_train_flags(int argc, const char* const* argv, const LaunchInfo& launch,
                              const std::string& version_text, const FolderFacts& folders,
                              const FindResumePoint& find) {
  Parser parser;
  const Words words = parser.parse(argc, argv, version_text);
  if (words.request) return *words.request;
  Problems problems;
  complain_about_extras(parser.extras(), flag_names(true), problems);
  GivenFlags file;
  if (!words.config_file.empty()) read_flags(read_flags_file(words.config_file), words.config_file, file, problems);
  GivenFlags given = merge(parser.given(problems), std::move(file));
  const std::optional<ResumePoint> point = resume_point(given, find);
  given = point ? go_on_with(std::move(given), *point, launch, problems)
                : with_model_of_weights(std::move(given), folders, problems);
  add_tokenizer_of_folder(given, folders);
  if (problems.empty()) {
    LaunchInfo known = launch;
    // A run folder's config.json says it with "" where there was none.
    if (const auto cluster = given.find("cluster");
        cluster != given.end() && folders.cluster_cores && !cluster->second.texts.back().empty())
      known.cluster = folders.cluster_cores(cluster->second.texts.back());
    Config config = resolve(given, known);
    if (!config.looks_only()) take_text_ids(given, folders, config);
    if (point)
      config.resume_folder = point->run_folder, config.resume_saves = point->saves,
      config.resume_checkpoint = point->checkpoint, config.resume_warning = point->warning;
    if (!point && !given.contains("out")) config.resume.reset();  // a new run in a folder of its own
    return config;
  }
  std::string more;
  try {
    resolve(given, launch);
  } catch (const ConfigError& error) {
    more = fmt::format("\n{}", error.what());
  }
  throw ConfigError(fmt::format("{}{}", fmt::join(problems.list(), "\n"), more));
}

nlohmann::ordered_json to_json(const Config& config) {
  nlohmann::ordered_json object;
  for (const Flag& flag : flag_table()) {
    const std::optional<std::vector<std::string>> texts = flag.get(config);
    if (!texts) continue;
    auto& value = object[std::string(flag.name)];
    switch (flag.kind) {
      case JsonKind::kNumber:
        value = nlohmann::ordered_json::parse(texts->back());
        break;
      case JsonKind::kBool:
        value = texts->back() == "on";
        break;
      case JsonKind::kList:
        value = *texts;
        break;
      case JsonKind::kText:
        value = texts->back();
        break;
      case JsonKind::kNumberOrText:
        value = nlohmann::ordered_json::parse(texts->back(), nullptr, /*allow_exceptions=*/false);
        if (!value.is_number()) value = texts->back();
        break;
    }
  }
  return object;
}

}  // namespace trine
