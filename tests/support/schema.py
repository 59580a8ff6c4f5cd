"""What the schema of a database is, in a form that reads well and is the same on every PostgreSQL from 15 on."""

from neuroroute.store.postgres import Database

TABLES = """
SELECT c.relname AS name, coalesce(array_to_string(array(SELECT unnest(c.reloptions) ORDER BY 1), ', '), '') AS options
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
"""
COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required, pg_get_expr(d.adbin, d.adrelid) AS preset
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
CONSTRAINTS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype <> 'n' ORDER BY 1
"""
INDEXES = """
SELECT pg_get_indexdef(indexrelid) AS text FROM pg_index
WHERE indrelid = $1::text::regclass AND indexrelid NOT IN (SELECT conindid FROM pg_constraint WHERE conrelid = $1::text::regclass) ORDER BY 1
"""
VIEWS = """
SELECT c.relname AS name, pg_get_viewdef(c.oid) AS text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v' ORDER BY 1
"""
TRIGGERS = "SELECT pg_get_triggerdef(oid) AS text FROM pg_trigger WHERE tgrelid = $1::text::regclass AND NOT tgisinternal ORDER BY 1"
FUNCTIONS = """
SELECT pg_get_functiondef(p.oid) AS text FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prokind IN ('f', 'p')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY p.proname
"""


async def describe(database: Database) -> str:
    parts = ["-- The schema after all migrations. Written by: NEUROROUTE_WRITE_SCHEMA=1 pytest tests/store/test_schema.py\n"]
    for table in await database.fetch(TABLES):
        name = table["name"]
        lines = []
        for column in await database.fetch(COLUMNS, name):
            required = " NOT NULL" if column["required"] else ""
            preset = f" DEFAULT {column['preset']}" if column["preset"] else ""
            lines.append(f"    {column['name']} {column['type']}{required}{preset}")
        lines += [f"    CONSTRAINT {row['name']} {row['text']}" for row in await database.fetch(CONSTRAINTS, name)]
        options = f" WITH ({table['options']})" if table["options"] else ""
        parts.append(f"CREATE TABLE {name} (\n" + ",\n".join(lines) + f"\n){options};")
        for sql in (INDEXES, TRIGGERS):
            parts += [f"{row['text']};" for row in await database.fetch(sql, name)]
        parts.append("")
    parts += [f"CREATE VIEW {row['name']} AS\n{row['text'].strip()}\n" for row in await database.fetch(VIEWS)]
    parts += [f"{row['text'].strip()};" for row in await database.fetch(FUNCTIONS)]
    return "\n".join(parts) + "\n"
