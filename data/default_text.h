// The text that Trine trains on when no data is given: the Jargon File, 1.7 MB of English in the public domain, as
// Debian's package jargon-text ships it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/token_source.h"
#include "data/tokenizer.h"

namespace trine {

inline constexpr double kDefaultValidFraction = 0.05;

// Where the text is looked for, in order. Under $TRINE_DATA_DIR and ~/.cache/trine: jargon.txt, jargon.txt.gz, or
// the unpacked package; then where the package installs it.
std::vector<std::filesystem::path> default_text_candidates();
std::optional<std::filesystem::path> find_default_text();

// The text, as tokens of one document with its end. DataError if it is nowhere (it says what to do) or damaged,
// ConfigError if one of its ids is not below `vocab_size`, that of the model.
TokenSourcePtr default_tokens(const Tokenizer& tokenizer, int64_t vocab_size);

// The contents of a file, decompressed if it is gzip. DataError.
std::string read_maybe_gzip(const std::filesystem::path& file);

}  // namespace trine
