#include "plan/config/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"

namespace trine {

Words parse_words(CLI::App& app, int argc, const char* const* argv, const std::string& version_text) {
  app.allow_extras();
  app.set_version_flag("--version", version_text);
  const CLI::Option* file = app.add_option("--config")
                                ->description("flags from a file; those on the command line win")
                                ->type_name("FILE.json");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return {TextRequest{app.help()}, {}};
  } catch (const CLI::CallForVersion& version) {
    return {TextRequest{version.what()}, {}};
  } catch (const CLI::ParseError& error) {
    throw ConfigError(fmt::format("[flags] {}. --help shows what it needs.", error.what()));
  }
  return {{}, file->count() > 0 ? file->results().back() : std::string()};
}

nlohmann::json read_flags_file(const std::string& path) {
  nlohmann::json object = read_json_file(path);
  if (!object.is_object())
    throw DataError(fmt::format("[{}] not a JSON object. It needs {{\"flag\": value, ...}}.", path));
  return object;
}

std::string not_a_flag(std::string_view word, const std::vector<std::string>& known, std::string_view dashes) {
  const auto guess = nearest(word, known);
  const std::string spelled = dashes.empty() ? fmt::format("'{}'", word) : fmt::format("{}{}", dashes, word);
  return fmt::format("{} is not a flag. {}", spelled,
                     guess ? fmt::format("Did you mean {}{}?", dashes, *guess) : "--help lists them all.");
}

void complain_about_extras(const std::vector<std::string>& extras, const std::vector<std::string>& known,
                           Problems& problems) {
  bool after_flag = false;
  for (const std::string& extra : extras) {
    const bool is_flag = extra.size() > 1 && extra[0] == '-';
    const std::string spelled = extra.substr(0, extra.find('='));
    if (is_flag)
      problems.add(
          "flags", "{}",
          not_a_flag(spelled.substr(std::min(spelled.size(), spelled.find_first_not_of('-'))), known, "--"));
    else if (!after_flag)
      problems.add("flags", "'{}' belongs to no flag. --help lists them all.", extra);
    after_flag = is_flag;
  }
}

}  // namespace trine
