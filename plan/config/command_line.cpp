#include "plan/config/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"

namespace trine {
namespace {

// "--model=" and "--model ''", which a shell makes of a variable that is not set: CLI11 takes the next word instead, or a
// name without letters.
class EmptyValues {
 public:
  EmptyValues(const CLI::App& app, Problems& problems) : app_(app), problems_(problems) {}

  void look_at(const std::string& word) {
    if (word.size() > 2 && word.starts_with("--")) {
      flag_ = word.substr(0, word.find('='));
      option_ = app_.get_option_no_throw(flag_);
      taken_ = flag_.size() < word.size() ? 1 : 0;
      if (flag_.size() + 1 == word.size() && option_) complain();
    } else if (!takes_another()) {
      if (word.empty() && flag_.empty())
        problems_.add("flags", "an argument is empty: is it a shell variable that is not set? Leave it out.");
      else if (word.empty() && option_)
        problems_.add(
            "flags", "an argument after {} is empty: is it a shell variable that is not set? Leave it out.", flag_);
    } else {
      ++taken_;
      if (word.empty()) complain();
    }
  }

 private:
  bool takes_another() const { return option_ && taken_ < option_->get_items_expected_max(); }
  void complain() {
    const std::string needs = option_->get_type_name();
    if (option_->get_items_expected_max() == 0)
      problems_.add("flags", "{}= has an empty value, and takes none. Write {}.", flag_, flag_);
    else
      problems_.add("flags",
                    "{} has an empty value: is it a shell variable that is not set? It needs {}; or leave it out.",
                    flag_, needs.empty() ? std::string("a value") : needs);
  }

  const CLI::App& app_;
  Problems& problems_;
  std::string flag_;  // the last one
  const CLI::Option* option_ = nullptr;
  int taken_ = 0;  // values of it
};

void refuse_empty_values(const CLI::App& app, int argc, const char* const* argv) {
  Problems problems;
  EmptyValues values(app, problems);
  for (int i = 1; i < argc; ++i) values.look_at(argv[i]);
  problems.throw_if_any();
}

}  // namespace

Words parse_words(CLI::App& app, int argc, const char* const* argv, const std::string& version_text) {
  app.allow_extras();
  app.set_version_flag("--version", version_text);
  const CLI::Option* file = app.add_option("--config")
                                ->description("flags from a file; those on the command line win")
                                ->type_name("FILE.json");
  refuse_empty_values(app, argc, argv);
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
