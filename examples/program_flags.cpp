#include "examples/program_flags.h"

#include <algorithm>

#include "base/input_file.h"
#include "base/json.h"
#include "base/unknown_flags.h"
#include "examples/version.h"

namespace trine {
namespace {

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  return names;
}

// {"valid-fraction": 0.1, "texts": ["a", "b"]}: CLI11 knows TOML and INI by itself, this teaches it JSON.
class JsonFlags final : public CLI::Config {
 public:
  explicit JsonFlags(const CLI::App& app) : app_(app) {}
  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return {}; }
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    const std::string text{std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
    const auto file = app_.get_config_ptr()->as<std::string>();
    const nlohmann::json json = parse_json(text, file);
    if (!json.is_object()) throw DataError(fmt::format("[json] {}: need {{\"flag\": value, ...}}.", file));
    const std::vector<std::string> names = flag_names(app_);
    Problems problems;
    std::vector<CLI::ConfigItem> flags;
    for (const auto& [name, value] : json.items()) {
      if (std::find(names.begin(), names.end(), name) == names.end())
        problems.add(file, "{}", not_a_flag(name, names, ""));
      CLI::ConfigItem& flag = flags.emplace_back();
      flag.name = name;
      for (const auto& one : value.is_array() ? value : nlohmann::json::array({value})) {
        flag.inputs.push_back(one.is_string() ? one.get<std::string>() : one.dump());
      }
    }
    problems.throw_if_any();
    return flags;
  }

 private:
  const CLI::App& app_;
};

}  // namespace

bool parse_flags(CLI::App& app, int argc, const char* const* argv, Problems& problems) {
  app.set_version_flag("--version", version_text());
  app.config_formatter(std::make_shared<JsonFlags>(app));
  app.set_config("--config", "", "flags from a file; those on the command line win")
      ->type_name("FILE.json")
      ->check([](const std::string& file) { return InputFile(file), std::string(); }, "");  // else a pipe blocks
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
  complain_about_extras(app.remaining(), flag_names(app), problems);
  return true;
}

}  // namespace trine
