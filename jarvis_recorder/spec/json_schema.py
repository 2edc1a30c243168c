"""JSON Schemas generated from classes, the same for files, OpenRPC and AsyncAPI."""

from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core.core_schema import NullableSchema

Schema = dict[str, Any]

DIALECT: Final = GenerateJsonSchema.schema_dialect
IN_DEFS: Final = "#/$defs/{model}"
IN_COMPONENTS: Final = "#/components/schemas/{model}"


class _Plain(GenerateJsonSchema):
    """A generator without titles that repeat field names, with descriptions where readers look."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        """Describe the nullable value as a whole, not one of its two alternatives."""
        nullable = super().nullable_schema(schema)
        description = nullable["anyOf"][0].pop("description", None)
        return nullable if description is None else {"description": description, **nullable}


def schema_of(
    adapter: TypeAdapter[Any], mode: JsonSchemaMode = "validation", *, refs: str = IN_DEFS
) -> Schema:
    """Return the schema of values an adapter validates, or writes if `mode` is serialization."""
    schema = adapter.json_schema(mode=mode, ref_template=refs, schema_generator=_Plain)
    for described in (schema, *schema.get("$defs", {}).values()):
        if "description" in described:
            described["description"] = unwrapped(described["description"])
    return schema


def component(name: str) -> Schema:
    """Return a reference to a schema among the components."""
    return {"$ref": IN_COMPONENTS.format(model=name)}


def unwrapped(docstring: str) -> str:
    """Return a docstring with one line for each paragraph, as Markdown wraps lines itself."""
    paragraphs = docstring.strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def first_sentence(description: str) -> str:
    """Return a summary: the description's first sentence, without its full stop."""
    return description.partition("\n\n")[0].partition(". ")[0].removesuffix(".")


def shared(schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return a schema without its definitions, which are moved to the components."""
    components.update(schema.get("$defs", {}))
    return {key: value for key, value in schema.items() if key != "$defs"}
