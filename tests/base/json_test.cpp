#include "base/json.h"

#include <chrono>
#include <gtest/gtest.h>

#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::ScratchFolder;
using testing::write_file;

std::string nested(int levels) {
  return std::string(static_cast<size_t>(levels), '[') + std::string(static_cast<size_t>(levels), ']');
}

// What the library's own parser makes of the same text.
TEST(Json, ReadsAsTheLibraryDoes) {
  for (const char* text :
       {"null", "true", "-5", "18446744073709551615", "1.5e-3", "\"a\\u00e9\\n\"", "[]", "{}", "[1,[2,[]],{}]",
        R"({"a":{"b":[{"c":null},{"d":false}],"e":"x"},"f":[[],{}],"g":-0.0})", "\xef\xbb\xbf {\"bom\": 1} "})
    EXPECT_EQ(parse_json(text), nlohmann::json::parse(text)) << text;
  for (const char* text : {"", "{", "[1,]", "{\"a\" 1}", "1 2", "\"\xff\"", "1e999", "nul", "[1]]", "{\"a\":1,}"}) {
    EXPECT_FALSE(nlohmann::json::accept(text)) << text;
    EXPECT_THROW(parse_json(text), JsonError) << text;
  }
}

TEST(Json, DepthHasALimit) {
  EXPECT_EQ(parse_json(nested(kMaxJsonDepth)).dump(), nested(kMaxJsonDepth));
  EXPECT_THROW(parse_json(nested(kMaxJsonDepth + 1)), JsonError);
  std::string objects;
  for (int i = 0; i < 70'000; ++i) objects += "{\"a\":";
  for (const std::string& text : {objects, std::string(70'000, '['), nested(70'000)})
    expect_error(ExitCode::kData, {"deep.json", "128 levels"}, [&] { parse_json(text, "deep.json"); });
}

TEST(Json, AKeyThatStandsTwiceIsRefused) {
  expect_error(ExitCode::kData, {"f.json", "\"b\"", "twice"},
               [] { parse_json(R"({"a":[{"b":1,"c":{"b":2},"b":3}]})", "f.json"); });
  EXPECT_EQ(parse_json(R"({"a":{"b":1},"b":[{"b":2},{"b":3}]})").size(), 2u);
  EXPECT_EQ(parse_json(R"({"b":1,"b":[2]})", RepeatedKeys::kLastWins).at("b").at(0), 2);
}

// Half a million members: quadratic work would take hours.
TEST(Json, TimeGrowsWithTheTextAlone) {
  std::string text = "{\"x\":[";
  for (int i = 0; i < 250'000; ++i) text += "{\"a\":[]},";
  text += "0]";
  for (int i = 0; i < 250'000; ++i) text += ",\"" + std::to_string(i) + "\":{\"s\":[1]}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_json(text + "}").size(), 250'001u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(Json, DamagedTextNeverCrashes) {
  int accepted = 0;
  testing::for_each_damage(R"({"a":{"b":[{"c":null},{"d":false}],"e":"\u00e9 x"},"f":[[],{}],"g":-1.5e3})",
                           [&](const std::string& bad) {
                             try {
                               parse_json(bad, "f"), ++accepted;
                             } catch (const DataError&) {
                             }
                           });
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace trine
