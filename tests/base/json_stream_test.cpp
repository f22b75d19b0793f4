#include "base/json_stream.h"

#include <cstring>
#include <gtest/gtest.h>

namespace trine {
namespace {

using Token = JsonStream::Token;

// Gives `text` in pieces of `piece` bytes.
JsonStream::Fill in_pieces(std::string text, size_t piece) {
  return [text = std::move(text), piece, at = size_t{0}](std::span<char> to) mutable {
    const size_t bytes = std::min({piece, to.size(), text.size() - at});
    std::memcpy(to.data(), text.data() + at, bytes);
    at += bytes;
    return bytes;
  };
}

// The text rebuilt from its tokens, values separated by commas.
std::string tokens(const std::string& text, size_t piece = 1 << 20) {
  JsonStream json(in_pieces(text, piece));
  std::string out;
  while (true) {
    switch (json.next()) {
      case Token::kBeginObject:
        out += '{';
        break;
      case Token::kEndObject:
        out += "},";
        break;
      case Token::kBeginArray:
        out += '[';
        break;
      case Token::kEndArray:
        out += "],";
        break;
      case Token::kKey:
        out += std::string(json.text()) + ':';
        break;
      case Token::kString:
        out += '"' + std::string(json.text()) + "\",";
        break;
      case Token::kNumber:
      case Token::kLiteral:
        out += std::string(json.text()) + ',';
        break;
      case Token::kEnd:
        return out;
    }
  }
}

TEST(JsonStream, GivesTheTokens) {
  const std::string text =
      R"( {"a" : [1, -2.5e+3 ,true,null,{} ,[]],"":"x\"\\\u00e9\ud83d\ude00\n","b c":{"d":0}} )";
  const std::string expected = "{a:[1,-2.5e+3,true,null,{},[],],:\"x\"\\\xc3\xa9\xf0\x9f\x98\x80\n\",b c:{d:0,},},";
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1000}})
    EXPECT_EQ(tokens(text, piece), expected) << piece;
  EXPECT_EQ(tokens("3"), "3,");
  EXPECT_EQ(tokens("\"\""), "\"\",");
}

TEST(JsonStream, TokensLongerThanABlockAreWhole) {
  const std::string number = "1" + std::string(600'000, '0'), word(700'000, 'x');
  EXPECT_EQ(tokens("[" + number + ",\"" + word + "\"]", 1000), "[" + number + ",\"" + word + "\",],");
  EXPECT_THROW(tokens("\"" + std::string(40'000'000, 'x') + "\""), JsonError);
}

TEST(JsonStream, SkipsValuesWhole) {
  JsonStream json(in_pieces(R"({"a":{"b":[1,{"c":2}]},"d":7})", 4));
  json.next(), json.next();
  json.skip(json.next());
  EXPECT_EQ(json.next(), Token::kKey);
  EXPECT_EQ(json.text(), "d");
  json.skip(json.next());
  EXPECT_EQ(json.next(), Token::kEndObject);
  EXPECT_EQ(json.next(), Token::kEnd);
}

// The library of the same task decides: what it refuses, and what it takes.
TEST(JsonStream, RefusesWhatIsNoJson) {
  const std::vector<std::string> texts = {
      "",          " ",           "{",           "[",           "[1",
      "[1,",       "[1,]",        "[,1]",        "[1 2]",       "{1:2}",
      "{\"a\"}",   "{\"a\":}",    "{\"a\":1,}",  "{\"a\" 1}",   "{\"a\":1 \"b\":2}",
      "[1}",       "{\"a\":1]",   "]",           "}",           "1 2",
      "{} {}",     "tru",         "nul",         "truee",       "01",
      "-",         "1.",          ".5",          "1e",          "1e+",
      "+1",        "\"",          "\"a",         "\"\\",        "\"\\x\"",
      "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"",
      "\"\n\"",    "'a'",         "[1]x",        "NaN",         "-Infinity"};
  for (const std::string& text : texts) {
    EXPECT_FALSE(nlohmann::json::accept(text)) << text;
    for (const size_t piece : {size_t{1}, size_t{1000}}) EXPECT_THROW(tokens(text, piece), JsonError) << text;
  }
  for (const std::string text : {"0", "-0", "-0.0e-0", "[]", "{}", "[[[]]]", "\"\\/\"", "1E5"}) {
    EXPECT_TRUE(nlohmann::json::accept(text)) << text;
    EXPECT_NO_THROW(tokens(text)) << text;
  }
  EXPECT_NO_THROW(tokens(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']')));
  EXPECT_THROW(tokens(std::string(kMaxJsonDepth + 1, '[') + std::string(kMaxJsonDepth + 1, ']')), JsonError);
}

TEST(JsonStream, AnErrorSaysTheByte) {
  try {
    tokens("{\"a\": [1, x]}", 3);
    FAIL();
  } catch (const JsonError& error) {
    EXPECT_EQ(std::string(error.what()), "byte 10: no value where one should be");
  }
}

}  // namespace
}  // namespace trine
