#include "base/json.h"

#include <vector>

#include "base/error.h"
#include "base/input_file.h"

namespace trine {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

// Builds the value from the parser's events. The library's own parsers take any depth, and the one that shows keys
// to a caller goes through all members of the surrounding object whenever one of them ends.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(Json& root, RepeatedKeys repeated) : root_(root), repeated_(repeated) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }  // no such thing in text
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    const auto [it, is_new] = open_.back()->get_ref<Json::object_t&>().try_emplace(name, nullptr);
    if (!is_new && repeated_ == RepeatedKeys::kRefused)
      throw JsonError(fmt::format("the key \"{}\" stands twice in one object, need it once. Remove one", name));
    member_ = &it->second;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    throw JsonError(error.what());
  }

 private:
  Json& add(Json&& value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (parent.is_object()) return *member_ = std::move(value);
    auto& list = parent.get_ref<Json::array_t&>();
    return list.emplace_back(std::move(value));
  }
  bool put(Json&& value) {
    add(std::move(value));
    return true;
  }
  bool open(Json&& empty) {
    if (open_.size() == kMaxJsonDepth) throw JsonError(fmt::format("more than {} levels deep", kMaxJsonDepth));
    open_.push_back(&add(std::move(empty)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Json& root_;
  RepeatedKeys repeated_;
  std::vector<Json*> open_;  // the objects and arrays around the next value
  Json* member_ = nullptr;   // of the innermost object: what the last key names
};

}  // namespace

Json parse_json(std::string_view text, RepeatedKeys repeated) {
  Json json;
  Builder builder(json, repeated);
  Json::sax_parse(text, &builder);
  return json;
}

Json parse_json(std::string_view text, const std::filesystem::path& file) {
  try {
    return parse_json(text);
  } catch (const JsonError& error) {
    throw DataError(fmt::format("[json] {}: {}. The file is damaged or not JSON; write or fetch it again.",
                                file.string(), error.what()));
  }
}

Json read_json_file(const std::filesystem::path& file) {
  return parse_json(read_text_file(file, kMaxFileBytes), file);
}

}  // namespace trine
