// A typed cursor over JSON that knows its file and its place, so that every error can say where, what was found, and
// what is allowed:
//
//   configs/devices/x.json: /sm/max_threads: found "abc"; allowed: an integer from 1 to 4096
//
// In strict mode every key of an object must be asked for before `finish`; an unknown one is an error that names the
// nearest known key. Lenient mode, for files that others publish with many keys, ignores the rest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace memwall {

class JsonReader {
public:
    enum class Mode { strict, lenient };

    /// `root` must outlive the reader and every cursor made from it. `pointer` is where `root` stands in its file.
    JsonReader(const nlohmann::json& root, std::string file, Mode mode = Mode::strict, std::string pointer = "");

    // Objects. Each of these marks the key as known.
    [[nodiscard]] bool has(std::string_view key) const;
    [[nodiscard]] JsonReader at(std::string_view key) const;                   ///< must be there
    [[nodiscard]] std::optional<JsonReader> find(std::string_view key) const;  ///< absent or null: nothing
    [[nodiscard]] std::vector<std::string> keys() const;                       ///< in the file's (sorted) order
    /// Strict mode: throws if the object has a key that nobody asked for.
    void finish() const;

    // Objects and arrays.
    [[nodiscard]] std::vector<JsonReader> elements() const;  ///< of an array

    // Leaves.
    [[nodiscard]] double as_number(double lowest, double highest) const;
    [[nodiscard]] std::int64_t as_integer(std::int64_t lowest, std::int64_t highest) const;
    [[nodiscard]] bool as_bool() const;
    [[nodiscard]] std::string as_string() const;
    [[nodiscard]] std::string as_choice(std::span<const std::string> allowed) const;

    // Required leaves of an object, and the same with a default for when the key is absent or null.
    [[nodiscard]] double number(std::string_view key, double lowest, double highest) const;
    [[nodiscard]] double number_or(std::string_view key, double fallback, double lowest, double highest) const;
    [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t lowest, std::int64_t highest) const;
    [[nodiscard]] std::int64_t integer_or(std::string_view key, std::int64_t fallback, std::int64_t lowest,
                                          std::int64_t highest) const;
    [[nodiscard]] std::string string(std::string_view key) const;
    [[nodiscard]] std::string string_or(std::string_view key, std::string_view fallback) const;
    [[nodiscard]] bool boolean_or(std::string_view key, bool fallback) const;
    [[nodiscard]] std::string choice(std::string_view key, std::span<const std::string> allowed) const;

    [[nodiscard]] const nlohmann::json& json() const { return *value_; }
    [[nodiscard]] const std::string& file() const { return file_; }
    [[nodiscard]] const std::string& pointer() const { return pointer_; }
    /// "file: /pointer"
    [[nodiscard]] std::string where() const;
    /// Throws the InputError for this value.
    [[noreturn]] void fail(const std::string& allowed) const;
    /// The same, where the caller says what was found.
    [[noreturn]] void fail(const std::string& found, const std::string& allowed) const;

private:
    [[nodiscard]] JsonReader child(std::string_view key, const nlohmann::json& value) const;
    [[nodiscard]] const nlohmann::json* lookup(std::string_view key) const;
    [[nodiscard]] JsonReader require(std::string_view key, const std::string& allowed) const;

    const nlohmann::json* value_;
    std::string file_;
    std::string pointer_;
    Mode mode_;
    std::shared_ptr<std::set<std::string, std::less<>>> known_;  // shared by copies of this cursor
};

/// Reads a whole file. Throws InputError when it is missing, a folder, or cannot be read.
[[nodiscard]] std::string read_text(const std::filesystem::path& path);

/// Parses a JSON file; a syntax error names line and column, a key that stands twice in one object is an error.
[[nodiscard]] nlohmann::json load_json(const std::filesystem::path& path);
/// The same for text from elsewhere; `name` stands for the file in errors.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, const std::string& name);

/// Writes `path`.tmp and renames it, so that a reader never sees half a file. On failure removes the temporary and
/// throws HostError.
void atomic_write(const std::filesystem::path& path, std::string_view text);

/// `value` to so many significant digits, as a person reads it; 0 for what is not finite, which would be no JSON.
[[nodiscard]] double rounded(double value, int digits);

/// "a, b, c".
[[nodiscard]] std::string joined(std::span<const std::string> items, std::string_view separator = ", ");

/// The candidate with the smallest edit distance to `name`; empty when there are none.
[[nodiscard]] std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace memwall
