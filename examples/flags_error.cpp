#include "examples/flags_error.h"

#include "base/json.h"
#include "base/text.h"
#include "examples/version.h"

namespace trine {
namespace {

// {"valid-fraction": 0.1, "texts": ["a", "b"]}: CLI11 knows TOML and INI by itself, this teaches it JSON.
class JsonFlags final : public CLI::Config {
 public:
  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return {}; }
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    const std::string text{std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
    const nlohmann::json json = parse_json(text, "--config");
    if (!json.is_object()) throw DataError("[json] --config: no JSON object, need {\"flag\": value, ...}.");
    std::vector<CLI::ConfigItem> flags;
    for (const auto& [name, value] : json.items()) {
      CLI::ConfigItem& item = flags.emplace_back();
      item.name = name;
      for (const auto& one : value.is_array() ? value : nlohmann::json::array({value})) {
        item.inputs.push_back(one.is_string() ? one.get<std::string>() : one.dump());
      }
    }
    return flags;
  }
};

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

}  // namespace

bool parse_flags(CLI::App& app, int argc, const char* const* argv, Problems& problems) {
  app.set_version_flag("--version", version_text());
  app.config_formatter(std::make_shared<JsonFlags>());
  app.set_config("--config", "", "flags from a file; those on the command line win")->type_name("FILE.json");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.allow_extras();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    app.exit(success);
    return false;
  } catch (const CLI::FileError& error) {
    throw DataError(fmt::format("[flags] {}. Check the path.", error.what()));
  } catch (const CLI::ParseError& error) {
    throw ConfigError(fmt::format("[flags] {}. --help shows what it needs.", error.what()));
  }
  bool after_flag = false;  // the value of an unknown flag is not worth a second complaint
  for (const std::string& extra : app.remaining()) {
    const bool is_flag = extra.size() > 1 && extra[0] == '-';
    const std::string word = extra.substr(0, extra.find('='));
    if (is_flag) {
      const auto guess = nearest(word, flag_names(app));
      problems.add("flags", "{} is not a flag. {}", word,
                   guess ? fmt::format("Did you mean {}?", *guess) : "--help lists them all.");
    } else if (!after_flag) {
      problems.add("flags", "'{}' belongs to no flag. --help lists them all.", extra);
    }
    after_flag = is_flag;
  }
  return true;
}

}  // namespace trine
