#include "reports/schema_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>

namespace reports {
namespace {

using Json = nlohmann::json;

// One value at one place against one schema of one file.
struct Check {
    const Json& value;
    std::string file;
    std::string place;

    std::string against(const Json& rules) const;

  private:
    using Keyword = std::string (Check::*)(const Json& rule, const Json& rules) const;
    static const std::map<std::string, Keyword>& keywords();

    std::string no(const std::string& why) const { return fmt::format("{}: {}", place, why); }
    Check below(const Json& child, const std::string& name) const
    {
        return {child, file, place + "/" + name};
    }

    std::string annotation(const Json&, const Json&) const { return {}; }
    std::string type(const Json& rule, const Json&) const
    {
        const auto name = rule.get<std::string>();
        const bool fits = name == "integer"  ? value.is_number_integer()
                          : name == "number" ? value.is_number()
                                             : value.type_name() == name;
        return fits ? "" : no(fmt::format("{} is no {}", value.dump(), name));
    }
    std::string constant(const Json& rule, const Json&) const
    {
        return value == rule ? "" : no(fmt::format("{} is not {}", value.dump(), rule.dump()));
    }
    std::string one_value_of(const Json& rule, const Json&) const
    {
        return std::ranges::find(rule, value) != rule.end()
                   ? ""
                   : no(fmt::format("{} is not listed", value.dump()));
    }
    std::string minimum(const Json& rule, const Json&) const
    {
        return !value.is_number() || value >= rule ? "" : no(fmt::format("{} is too small", value.dump()));
    }
    std::string min_length(const Json& rule, const Json&) const
    {
        return !value.is_string() || value.get_ref<const std::string&>().size() >= rule.get<std::size_t>()
                   ? ""
                   : no("text is too short");
    }
    std::string required(const Json& rule, const Json&) const
    {
        for (const auto& name : rule)
            if (value.is_object() && !value.contains(name.get<std::string>()))
                return no("has no " + name.dump());
        return {};
    }
    std::string dependent(const Json& rule, const Json& rules) const
    {
        for (const auto& [name, names] : rule.items())
            if (value.is_object() && value.contains(name))
                if (auto why = required(names, rules); !why.empty())
                    return why;
        return {};
    }
    std::string properties(const Json& rule, const Json&) const
    {
        for (const auto& [name, rules] : rule.items())
            if (value.is_object() && value.contains(name))
                if (auto why = below(value[name], name).against(rules); !why.empty())
                    return why;
        return {};
    }
    std::string items(const Json& rule, const Json&) const
    {
        for (std::size_t i = 0; value.is_array() && i < value.size(); ++i)
            if (auto why = below(value[i], std::to_string(i)).against(rule); !why.empty())
                return why;
        return {};
    }
    std::string reference(const Json& rule, const Json&) const
    {
        const auto target = rule.get<std::string>();
        const auto hash = target.find('#');
        const auto to = hash == 0 ? file : target.substr(0, hash);
        return Check{value, to, place}.against(schema(to).at(Json::json_pointer(target.substr(hash + 1))));
    }
    std::string all_of(const Json& rule, const Json&) const
    {
        for (const auto& rules : rule)
            if (auto why = against(rules); !why.empty())
                return why;
        return {};
    }
    std::string one_of(const Json& rule, const Json&) const
    {
        const auto fits =
            std::ranges::count_if(rule, [&](const Json& rules) { return against(rules).empty(); });
        return fits == 1 ? "" : no(fmt::format("{} branches of oneOf fit {}", fits, value.dump()));
    }
    std::string if_else(const Json& rule, const Json& rules) const
    {
        return against(rule).empty() ? "" : against(rules.at("else"));
    }
};

const std::map<std::string, Check::Keyword>& Check::keywords()
{
    static const std::map<std::string, Keyword> known{
        {"$schema", &Check::annotation},
        {"$defs", &Check::annotation},
        {"title", &Check::annotation},
        {"description", &Check::annotation},
        {"else", &Check::annotation}, // read by "if"
        {"type", &Check::type},
        {"const", &Check::constant},
        {"enum", &Check::one_value_of},
        {"minimum", &Check::minimum},
        {"minLength", &Check::min_length},
        {"required", &Check::required},
        {"dependentRequired", &Check::dependent},
        {"properties", &Check::properties},
        {"items", &Check::items},
        {"$ref", &Check::reference},
        {"allOf", &Check::all_of},
        {"oneOf", &Check::one_of},
        {"if", &Check::if_else},
    };
    return known;
}

std::string Check::against(const Json& rules) const
{
    for (const auto& [name, rule] : rules.items()) {
        const auto keyword = keywords().find(name);
        if (keyword == keywords().end())
            return no(fmt::format("the schema uses \"{}\", which this checker does not know", name));
        if (auto why = std::invoke(keyword->second, *this, rule, rules); !why.empty())
            return why;
    }
    return {};
}

} // namespace

const nlohmann::json& schema(const std::string& file)
{
    static std::map<std::string, Json> files;
    auto& json = files[file];
    if (json.is_null()) {
        std::ifstream in(std::string{REPORTS_SCHEMA_DIR "/"} + file);
        json = Json::parse(in);
    }
    return json;
}

std::string violation(const nlohmann::json& value, const std::string& file)
{
    return Check{value, file, ""}.against(schema(file));
}

} // namespace reports
