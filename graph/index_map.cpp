#include "graph/index_map.h"

#include <algorithm>
#include <cctype>
#include <fmt/core.h>
#include <optional>
#include <unordered_map>

#include "base/error.h"

namespace trine {
namespace {

// A cursor over the text form.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  IndexMap parse() {
    IndexMap map;
    while (!accept("->")) map.inputs.push_back(operand(map));
    while (!done() && peek() != ':') map.outputs.push_back(operand(map));
    if (accept(":")) {
      do map.linear_in.push_back(linear_set(map));
      while (accept(","));
    }
    TRINE_CHECK(done(), "index map '{}': unexpected '{}'", text_, text_.substr(at_));
    return map;
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool done() {
    skip_space();
    return at_ == text_.size();
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(std::string_view token) {
    skip_space();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  std::string word() {
    skip_space();
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) ++at_;
    TRINE_CHECK(at_ > begin, "index map '{}': a name is missing at '{}'", text_, text_.substr(begin));
    return std::string(text_.substr(begin, at_ - begin));
  }
  IndexMap::Operand operand(IndexMap& map) {
    IndexMap::Operand operand;
    operand.differentiable = !accept("~");
    operand.name = word();
    TRINE_CHECK(accept("["), "index map '{}': '[' is missing after {}", text_, operand.name);
    while (!accept("]")) {
      operand.indices.push_back(word());
      if (accept("!")) map.whole.push_back(operand.indices.back());
      accept(",");
    }
    return operand;
  }
  std::vector<int> linear_set(const IndexMap& map) {
    std::vector<int> set;
    do {
      const std::string name = word();
      const auto it =
          std::find_if(map.inputs.begin(), map.inputs.end(), [&](const auto& o) { return o.name == name; });
      TRINE_CHECK(it != map.inputs.end(), "index map '{}': no input {}", text_, name);
      set.push_back(static_cast<int>(it - map.inputs.begin()));
    } while (accept("+"));
    return set;
  }

  std::string_view text_;
  size_t at_ = 0;
};

bool contains(const auto& range, const auto& value) {
  return std::find(range.begin(), range.end(), value) != range.end();
}

// Rule (c): the partial inputs are exactly one of the sets in which the op is linear.
bool partial_inputs_are_linear(const IndexMap& map, std::span<const Placement> inputs) {
  std::vector<int> partial;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].is(PlacementKind::kPartial)) partial.push_back(static_cast<int>(i));
  return std::any_of(map.linear_in.begin(), map.linear_in.end(), [&](std::vector<int> set) {
    std::sort(set.begin(), set.end());
    return set == partial;
  });
}

}  // namespace

IndexMap parse_index_map(std::string_view text) { return Parser(text).parse(); }

const IndexMap& known_index_map(const std::string& text) {
  thread_local std::unordered_map<std::string, IndexMap> known;
  const auto found = known.find(text);
  return found != known.end() ? found->second : known.emplace(text, parse_index_map(text)).first->second;
}

std::variant<std::vector<Placement>, std::string> derive_placements(const IndexMap& map,
                                                                    std::span<const Placement> inputs, Axis axis) {
  using enum PlacementKind;
  TRINE_CHECK(inputs.size() == map.inputs.size(), "{} inputs, the index map has {}", inputs.size(),
              map.inputs.size());
  bool any_invariant = false, any_partial = false, any_other = false;
  std::optional<std::string> split;  // the index that is split
  bool batch = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const IndexMap::Operand& operand = map.inputs[i];
    if (inputs[i].is(kSplit)) {
      const size_t dim = static_cast<size_t>(inputs[i].dim);
      if (dim >= operand.indices.size())
        return fmt::format("{} has no dim {} to be split along", operand.name, dim);
      const std::string& index = operand.indices[dim];
      if (split && *split != index)
        return fmt::format("both {} and {} are split over {}", *split, index, name(axis));
      split = index;
      batch |= inputs[i].batch;
    }
    any_partial |= inputs[i].is(kPartial);
    if (!operand.differentiable) continue;
    any_invariant |= inputs[i].is(kInvariant);
    any_other |= inputs[i].is(kReplicated) || inputs[i].is(kSplit);
  }
  if (any_invariant && (any_other || any_partial || split))
    return fmt::format("an invariant input beside one that is not, on {}: it needs an enter first", name(axis));

  if (any_partial) {
    if (split) return fmt::format("a partial input beside one split along {}", *split);
    if (!partial_inputs_are_linear(map, inputs))
      return std::string("a partial input where the op is not linear in it");
    return std::vector<Placement>(map.outputs.size(), Placement::partial());
  }
  if (!split)
    return std::vector<Placement>(map.outputs.size(), any_other ? Placement::replicated() : Placement::invariant());

  if (!batch && contains(map.whole, *split)) return fmt::format("index {} is needed whole, but is split", *split);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const IndexMap::Operand& operand = map.inputs[i];
    if (contains(operand.indices, *split) && !inputs[i].is(kSplit) && operand.differentiable)
      return fmt::format("{} has index {}, which is split elsewhere, but is {}", operand.name, *split,
                         to_string(inputs[i]));
  }
  std::vector<Placement> outputs;
  for (const IndexMap::Operand& operand : map.outputs) {
    const auto it = std::find(operand.indices.begin(), operand.indices.end(), *split);
    if (it == operand.indices.end())
      outputs.push_back(Placement::partial());
    else
      outputs.push_back({kSplit, static_cast<int8_t>(it - operand.indices.begin()), batch});
  }
  return outputs;
}

}  // namespace trine
