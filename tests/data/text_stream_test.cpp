#include "data/text_stream.h"

#include <gtest/gtest.h>

#include "data/utf8.h"
#include "tests/test_data.h"

namespace trine {
namespace {

const std::string kText = "The quick brown fox; naïve café, 東京 and 🙂🙃 again.\n\tTabs  and   spaces. ";

class TextStreams : public testing::TestWithParam<const char*> {
 protected:
  const std::unique_ptr<Tokenizer> tokenizer_ =
      make_tokenizer(std::string(GetParam()) == "bytes" ? "bytes" : test_data() + "/tokenizers/" + GetParam());
};

// What is given piece by piece is what is decoded at once, and every piece is whole characters.
TEST_P(TextStreams, GivesTheTextInWholeCharacters) {
  std::string text;
  for (int i = 0; i < 6; ++i) text += kText;  // longer than a window
  const std::vector<int32_t> ids = tokenizer_->encode(text);
  ASSERT_GT(ids.size(), 100u);
  for (const size_t before : {size_t{0}, size_t{1}, size_t{20}}) {
    TextStream stream(*tokenizer_, std::span(ids).first(before));
    std::string all = tokenizer_->decode(std::span(ids).first(before));
    if (valid_utf8_prefix(all) != all.size() || all.ends_with("\uFFFD"))
      continue;  // the prompt ends inside a character
    for (size_t i = before; i < ids.size(); ++i) {
      const std::string piece = stream.add(ids[i]);
      EXPECT_EQ(valid_utf8_prefix(piece), piece.size()) << piece;
      all += piece;
    }
    EXPECT_EQ(all + stream.finish(), tokenizer_->decode(ids)) << before;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, TextStreams, testing::Values("bytes", "bpe.json", "bpe.model", "unigram.model"),
                         [](const auto& p) {
                           std::string name = p.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

TEST(TextStream, GivesHalfACharacterAtTheEndOnly) {
  const auto tokenizer = make_tokenizer("bytes");
  TextStream stream(*tokenizer, {});
  EXPECT_EQ(stream.add('a'), "a");
  EXPECT_EQ(stream.add(0xE6), "");
  EXPECT_EQ(stream.add(0x9D), "");
  EXPECT_EQ(stream.finish(), "\xE6\x9D");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, PassesOnBytesThatAreNoText) {
  const auto tokenizer = make_tokenizer("bytes");
  TextStream stream(*tokenizer, {});
  EXPECT_EQ(stream.add(0x80), "\x80");
  EXPECT_EQ(stream.add(0xE6), "");
  EXPECT_EQ(stream.add('b'),
            "\xE6"
            "b");
}

}  // namespace
}  // namespace trine
