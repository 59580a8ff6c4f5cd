"""
LiteLLM's proxy configuration -> ours.

A `model_name` with one deployment becomes a model of that name. One with several becomes an alias of that name: a chain in their order (LiteLLM's
`order` first), which is the truest counterpart: the first healthy one that can do the job answers, at a provider's limit a call waits its
turn or goes on. Fallbacks follow in the chain. A wildcard becomes a provider that is asked for its models.
Source: docs.litellm.ai, the pages on proxy configs, reliability, load balancing, virtual keys, caching; and LiteLLM's own example files, read 2026-11.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from neuroroute.cli.moving import litellm_settings
from neuroroute.cli.moving.deployments import Deployment, Deployments
from neuroroute.cli.moving.draft import Draft, mappings, number, plain
from neuroroute.core.dataclass import dataclass, field

_TAKEN: Final = re.compile(r"(neuroroute/)?auto(:.*)?|neuroroute/.*|")
_SECTIONS: Final = {
    "model_list", "litellm_settings", "router_settings", "general_settings", "environment_variables", "credential_list", "include",
}  # fmt: skip
_NO_SECTION: Final = {
    "guardrails": "NeuroRoute has no guardrails",
    "mcp_servers": "NeuroRoute serves no MCP",
    "mcp_tools": "NeuroRoute serves no MCP",
    "finetune_settings": "paths that name no model go to routing.default_provider",
    "files_settings": "paths that name no model go to routing.default_provider",
    "prompts": "NeuroRoute keeps no prompts",
    "vector_store_registry": "NeuroRoute keeps no vector stores",
    "search_tools": "NeuroRoute runs no tools",
}


@dataclass(slots=True)
class _Names:
    """What clients could name before -> our models behind it, in order."""

    groups: dict[str, list[str]] = field(default_factory=dict)
    wild: dict[str, str] = field(default_factory=dict)  # `groq/*` -> provider
    own: set[str] = field(default_factory=set)  # all of the model_list: no wildcard stands for these


def translate(old: Mapping[str, Any]) -> Draft:
    """Our draft of LiteLLM's configuration."""
    draft, names = Draft(), _Names()
    credentials = {str(entry.get("credential_name")): entry for entry in mappings(old.get("credential_list"))}
    deployments = Deployments(draft, credentials)
    groups: dict[str, list[Deployment]] = {}
    for place, entry in enumerate(mappings(old.get("model_list") or [])):
        name = str(entry.get("model_name") or "")
        names.own.add(name)
        where = f"model_list[{place}] ({name})"
        params, info = _part(entry, "litellm_params"), _part(entry, "model_info")
        if isinstance(params.get("adaptive_router_config"), Mapping):
            _adaptive(draft, where, name, params["adaptive_router_config"])
        elif "*" in name:
            _wildcard(draft, names, where, name, deployments, params)
        elif _TAKEN.fullmatch(name):
            draft.lose(where, "the name belongs to the router; give the model another")
        elif (made := deployments.read(where, {**entry, **params}, info)) is not None and made not in groups.setdefault(name, []):
            groups[name].append(made)
    for name, members in groups.items():
        _group(draft, names, name, sorted(members, key=lambda member: member.order))
    litellm_settings.read(draft, old)
    _fallbacks(draft, names, old)
    _aliases(draft, names, _part(old, "router_settings").get("model_group_alias"))
    for section in old:
        if section not in _SECTIONS:
            draft.lose(str(section), _NO_SECTION.get(str(section), "has no counterpart"))
    if "openai" in draft.providers or "anthropic" in draft.providers:
        draft.note("providers", "openai and anthropic also offer the other models known of them; a key's allowed_models narrows that")
    return draft


def _part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _wildcard(draft: Draft, names: _Names, where: str, name: str, deployments: Deployments, params: Mapping[str, Any]) -> None:
    """`groq/*`: a provider of that name, asked for its models; `*`: one whose models are known by their bare names."""
    word, _, rest = str(params.get("model") or "").rpartition("/")
    if rest != "*" or (name != "*" and not re.fullmatch(r"[\w.-]+/\*", name)):
        draft.lose(where, "a pattern other than * and provider/* has no counterpart; name its models")
        return
    provider = deployments.provider(where, word, params, None if name == "*" else name[:-2])
    if provider is None:
        return
    prefix = name[:-2]
    if name != "*" and provider != prefix:
        draft.lose(where, f"models of this provider are named {provider}/..., not {prefix}/...: the two share one provider")
    draft.providers[provider]["discover"] = True
    names.wild[name] = provider
    draft.note(where, f"the provider {provider} is asked for its models; they are named {provider}/NAME, and NAME where that is free")


def _adaptive(draft: Draft, where: str, name: str, said: Mapping[str, Any]) -> None:
    """A router over some models becomes a policy of that name; what it learns from feedback, ours learns for every policy."""
    policy: dict[str, Any] = {"allow": [plain(str(model)) for model in said.get("available_models") or ()]}
    weights = {
        kind: weight for kind in ("quality", "cost", "latency") if (weight := number(_part(said, "weights").get(kind), -1.0)) is not None
    }
    if not policy["allow"] or _TAKEN.fullmatch(name) or not re.fullmatch(r"[\w.-]+", name):
        draft.lose(where, "a router without models, or with a name that no policy can have")
        return
    draft.routing.setdefault("policies", {})[name] = {**policy, **({"weights": weights} if weights else {})}
    draft.note(where, f"became a policy: clients name it auto:{name}")


def _group(draft: Draft, names: _Names, name: str, members: list[Deployment]) -> None:
    if len(members) == 1:
        draft.models[name] = members[0].model
        names.groups[name] = [name]
        return
    chain = []
    for member in members:
        own = draft.free(f"{name}@{member.model['provider']}", {*draft.models, *names.groups})
        draft.models[own] = member.model
        chain.append(own)
    draft.aliases[name], names.groups[name] = list(chain), chain
    draft.note(
        name, f"{len(members)} deployments became a chain of that name: the first healthy one answers, then the next; load is not spread"
    )


def _fallbacks(draft: Draft, names: _Names, old: Mapping[str, Any]) -> None:
    """All of LiteLLM's lists of fallbacks; `context_window_fallbacks` too: what does not fit into a window is passed over in a chain."""
    found: dict[str, list[str]] = {}
    default: list[str] = []
    for section in ("router_settings", "litellm_settings"):
        part = _part(old, section)
        for kind in ("fallbacks", "context_window_fallbacks"):
            where = f"{section}.{kind}"
            for entry in mappings(part.get(kind) or []):
                for source, targets in entry.items():
                    mine = _targets(draft, names, f"{where}.{source}", targets)
                    if source == "*":
                        default += mine
                    elif mine and _present(draft, names, f"{where}.{source}", str(source)):
                        found[str(source)] = found.get(str(source), []) + mine
                        if kind == "context_window_fallbacks":
                            draft.note(f"{where}.{source}", "became fallbacks: they also answer where the model fails in another way")
        default += _targets(draft, names, f"{section}.default_fallbacks", part.get("default_fallbacks") or [])
        if part.get("content_policy_fallbacks"):
            draft.lose(f"{section}.content_policy_fallbacks", "a refusal by a provider's filter goes to the client as it is")
    for name, chain in names.groups.items():
        _follow(draft, name, chain, found.get(name) or default)


def _targets(draft: Draft, names: _Names, where: str, targets: object) -> list[str]:
    """Our models behind a list of LiteLLM's names."""
    found = []
    for target in targets if isinstance(targets, list) else [targets]:
        name = str(target.get("model") if isinstance(target, Mapping) else target)
        if name in names.groups:
            found += names.groups[name]
        elif _covering(names, name) is not None:
            found.append(plain(name))
        else:
            draft.lose(where, f"{name} has no model here")
    return found


def _covering(names: _Names, name: str) -> str | None:
    """The provider whose wildcard covers a name."""
    if name in names.own:
        return None
    prefix = name.partition("/")[0] + "/*"
    return names.wild.get(prefix) if "/" in name and prefix in names.wild else names.wild.get("*")


def _present(draft: Draft, names: _Names, where: str, name: str) -> bool:
    """Whether a name has a model of ours; one that only a wildcard covers gets its own entry, for its fallbacks to stand there."""
    if name in names.groups:
        return True
    provider = _covering(names, name)
    if provider is None:
        draft.lose(where, f"{name} has no model here")
        return False
    draft.models[name] = {"provider": provider}
    if "/" in name:
        draft.models[name]["upstream_model"] = plain(name.partition("/")[2])
    names.groups[name] = [name]
    return True


def _follow(draft: Draft, name: str, chain: list[str], fallbacks: list[str]) -> None:
    more = [target for target in dict.fromkeys(fallbacks) if target not in chain]
    if not more:
        return
    if name in draft.aliases:
        draft.aliases[name] = [*chain, *more]
    else:
        draft.models[name]["fallbacks"] = more


def _aliases(draft: Draft, names: _Names, said: object) -> None:
    for alias, target in said.items() if isinstance(said, Mapping) else ():
        name = str(target.get("model") if isinstance(target, Mapping) else target)
        where = f"router_settings.model_group_alias.{alias}"
        if _TAKEN.fullmatch(str(alias)):
            draft.lose(where, "the name belongs to the router; choose another")
        elif name in names.groups:
            draft.aliases[str(alias)] = list(draft.aliases.get(name) or [name, *draft.models[name].get("fallbacks", ())])
        elif _covering(names, name) is not None:
            draft.aliases[str(alias)] = [plain(name)]
        else:
            draft.lose(where, f"{name} has no model here")
        if isinstance(target, Mapping) and target.get("hidden"):
            draft.lose(f"{where}.hidden", "every alias is listed to keys that may use its models")
