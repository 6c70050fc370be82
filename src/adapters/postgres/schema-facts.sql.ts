/**
 * The schema as one line a fact. $1 and $2: the declared version table, left out with all that belongs to it.
 * Left out as well: what belongs to the system or to an extension, and the order of a table's columns.
 * Expressions come out fully qualified, since search_path holds pg_catalog alone.
 */
export function schemaFactsQuery(major: number): string {
  const grants = (kind: string, identity: string, acl: string, type: string, owner: string, from: string): string => `
    SELECT format('grant ${kind} %s to %s: %s', ${identity}, coalesce(r.rolname, 'PUBLIC'),
             string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ' ' ORDER BY a.privilege_type, a.is_grantable))
    FROM ${from}, aclexplode(coalesce(${acl}, acldefault('${type}', ${owner}))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    GROUP BY ${identity}, r.rolname`;
  // Names of catalogue columns that came or changed with a major.
  const persistsNotNull = major >= 18 ? `AND con.contype <> 'n'` : '';
  const collationLocale = major >= 17 ? 'co.colllocale' : 'co.colliculocale';

  return `
  WITH
    member AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
    schema AS MATERIALIZED (
      SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n
      WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
        AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = n.oid)),
    visible AS MATERIALIZED (
      SELECT n.oid, n.nspname FROM pg_namespace n
      WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'),
    rel AS MATERIALIZED (
      SELECT c.*, format('%I.%I', n.nspname, c.relname) AS id,
        CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
          WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type' END AS kind
      FROM pg_class c JOIN visible n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't'
        AND NOT (n.nspname = $1 AND c.relname = $2)
        AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)),
    func AS MATERIALIZED (
      SELECT p.*, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS id,
        CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind
      FROM pg_proc p JOIN visible n ON n.oid = p.pronamespace
      WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
        -- a range's constructors come and go with it
        AND NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')),
    typ AS MATERIALIZED (
      SELECT t.*, format('%I.%I', n.nspname, t.typname) AS id, CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END AS kind
      FROM pg_type t JOIN visible n ON n.oid = t.typnamespace
      WHERE t.typtype IN ('e', 'd', 'r', 'c', 'b') AND t.typcategory <> 'A'
        AND (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_class c WHERE c.oid = t.typrelid))
        AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid))

  SELECT format('schema %I', nspname) AS line FROM schema
  UNION ALL SELECT format('owner schema %I %I', nspname, pg_get_userbyid(nspowner)) FROM schema
  UNION ALL ${grants('schema', 'quote_ident(s.nspname)', 's.nspacl', 'n', 's.nspowner', 'schema s')}

  -- tables, views, sequences
  UNION ALL SELECT format('%s %s%s%s%s%s', kind, id,
      CASE relpersistence WHEN 'u' THEN ' unlogged' ELSE '' END,
      CASE WHEN relkind = 'p' THEN ' partition by ' || pg_get_partkeydef(oid) ELSE '' END,
      CASE WHEN relispartition THEN ' ' || pg_get_expr(relpartbound, oid) ELSE '' END,
      CASE WHEN reloptions IS NOT NULL THEN ' with ' || ARRAY(SELECT unnest(reloptions) ORDER BY 1)::text ELSE '' END
      || CASE WHEN relrowsecurity THEN ' row level security' ELSE '' END
      || CASE WHEN relforcerowsecurity THEN ' forced' ELSE '' END
      || CASE relreplident WHEN 'd' THEN '' WHEN 'n' THEN CASE WHEN relkind IN ('r', 'p', 'm') THEN ' replica identity nothing' ELSE '' END
           ELSE ' replica identity ' || relreplident::text END
      || CASE WHEN relkind IN ('r', 'm') AND relam <> 0 THEN (SELECT CASE WHEN amname = 'heap' THEN '' ELSE ' using ' || amname::text END FROM pg_am WHERE pg_am.oid = relam) ELSE '' END
      || CASE WHEN reloftype <> 0 THEN ' of ' || format_type(reloftype, NULL) ELSE '' END)
    FROM rel WHERE relkind <> 'S' AND relkind <> 'c'
  UNION ALL SELECT format('definition %s %s: %s', kind, id, pg_get_viewdef(oid)) FROM rel WHERE relkind IN ('v', 'm')
  UNION ALL SELECT format('inherits %s from %s', rel.id, i.inhparent::regclass) FROM pg_inherits i JOIN rel ON rel.oid = i.inhrelid
  UNION ALL SELECT format('owner %s %s %I', kind, id, pg_get_userbyid(relowner)) FROM rel
  UNION ALL ${grants('table', 'rel.id', 'rel.relacl', 'r', 'rel.relowner', `(SELECT * FROM rel WHERE relkind NOT IN ('S', 'c')) rel`)}
  UNION ALL ${grants('sequence', 'rel.id', 'rel.relacl', 's', 'rel.relowner', `(SELECT * FROM rel WHERE relkind = 'S') rel`)}
  UNION ALL SELECT format('grant column %s.%I to %s: %s', rel.id, att.attname, coalesce(r.rolname, 'PUBLIC'),
      string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ' ' ORDER BY a.privilege_type, a.is_grantable))
    FROM rel JOIN pg_attribute att ON att.attrelid = rel.oid AND NOT att.attisdropped, aclexplode(att.attacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    GROUP BY rel.id, att.attname, r.rolname
  UNION ALL SELECT format('sequence %s %s start %s increment %s min %s max %s cache %s%s%s', rel.id, format_type(s.seqtypid, NULL),
      s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN ' cycle' ELSE '' END,
      coalesce((SELECT format(' owned by %s.%I', d.refobjid::regclass, a.attname) FROM pg_depend d
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LIMIT 1), ''))
    FROM rel JOIN pg_sequence s ON s.seqrelid = rel.oid

  -- columns
  UNION ALL SELECT format('column %s.%I %s%s%s%s%s%s', rel.id, a.attname, format_type(a.atttypid, a.atttypmod),
      CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
      CASE a.attidentity WHEN 'a' THEN ' identity always' WHEN 'd' THEN ' identity by default' ELSE '' END,
      CASE WHEN d.oid IS NULL THEN '' WHEN a.attgenerated = 's' THEN ' generated stored ' WHEN a.attgenerated = 'v' THEN ' generated virtual ' ELSE ' default ' END
        || coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
      CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN ' collate ' || a.attcollation::regcollation::text ELSE '' END,
      CASE WHEN a.attstorage <> t.typstorage THEN ' storage ' || a.attstorage::text ELSE '' END
      || CASE WHEN a.attcompression::text <> '' THEN ' compression ' || a.attcompression::text ELSE '' END
      || CASE WHEN a.attstattarget >= 0 THEN ' statistics ' || a.attstattarget ELSE '' END
      || CASE WHEN a.attoptions IS NOT NULL THEN ' with ' || a.attoptions::text ELSE '' END
      || CASE WHEN a.attfdwoptions IS NOT NULL THEN ' options ' || a.attfdwoptions::text ELSE '' END)
    FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE rel.relkind IN ('r', 'p', 'f', 'v', 'm')

  -- constraints, indexes, triggers, rules, policies, statistics; NOT NULL is the column's, whatever its constraint is called
  UNION ALL SELECT format('constraint %s.%I %s%s', rel.id, con.conname, pg_get_constraintdef(con.oid), CASE WHEN con.convalidated THEN '' ELSE ' (not validated)' END)
    FROM pg_constraint con JOIN rel ON rel.oid = con.conrelid WHERE con.contype <> 't' ${persistsNotNull}
  UNION ALL SELECT format('index %s: %s%s%s%s', rel.id, pg_get_indexdef(i.indexrelid),
      CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END, CASE WHEN i.indisclustered THEN ' (clustered)' ELSE '' END, CASE WHEN i.indisreplident THEN ' (replica identity)' ELSE '' END)
    FROM pg_index i JOIN rel ON rel.oid = i.indrelid
  UNION ALL SELECT format('trigger %s: %s%s', rel.id, pg_get_triggerdef(t.oid), CASE t.tgenabled WHEN 'O' THEN '' ELSE ' (enabled: ' || t.tgenabled::text || ')' END)
    FROM pg_trigger t JOIN rel ON rel.oid = t.tgrelid WHERE NOT t.tgisinternal
  UNION ALL SELECT format('rule %s: %s%s', rel.id, pg_get_ruledef(w.oid), CASE w.ev_enabled WHEN 'O' THEN '' ELSE ' (enabled: ' || w.ev_enabled::text || ')' END)
    FROM pg_rewrite w JOIN rel ON rel.oid = w.ev_class WHERE w.rulename <> '_RETURN'
  UNION ALL SELECT format('policy %s.%I %s for %s to %s using %s check %s', rel.id, p.polname, CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, p.polcmd,
      ARRAY(SELECT CASE WHEN u = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(u)::text END FROM unnest(p.polroles) u ORDER BY 1)::text,
      coalesce(pg_get_expr(p.polqual, p.polrelid), '-'), coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '-'))
    FROM pg_policy p JOIN rel ON rel.oid = p.polrelid
  UNION ALL SELECT format('statistics %s: %s', rel.id, pg_get_statisticsobjdef(s.oid)) FROM pg_statistic_ext s JOIN rel ON rel.oid = s.stxrelid

  -- functions
  UNION ALL SELECT format('%s %s: %s', kind, id, pg_get_functiondef(oid)) FROM func WHERE prokind <> 'a'
  UNION ALL SELECT format('aggregate %s: state %s %s initial %s final %s combine %s order %s', func.id, a.aggtransfn, format_type(a.aggtranstype, NULL),
      coalesce(a.agginitval, '-'), a.aggfinalfn, a.aggcombinefn, a.aggsortop::regoperator) FROM func JOIN pg_aggregate a ON a.aggfnoid = func.oid
  UNION ALL SELECT format('owner %s %s %I', kind, id, pg_get_userbyid(proowner)) FROM func
  UNION ALL ${grants('function', 'func.id', 'func.proacl', 'f', 'func.proowner', 'func')}

  -- types
  UNION ALL SELECT format('enum %s: %s', id, (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = typ.oid))
    FROM typ WHERE typtype = 'e'
  UNION ALL SELECT format('domain %s %s%s%s%s', typ.id, format_type(typbasetype, typtypmod), CASE WHEN typnotnull THEN ' not null' ELSE '' END,
      coalesce(' default ' || typdefault, ''), CASE WHEN typcollation <> 0 THEN ' collate ' || typcollation::regcollation::text ELSE '' END) FROM typ WHERE typtype = 'd'
  UNION ALL SELECT format('constraint %s.%I %s', typ.id, con.conname, pg_get_constraintdef(con.oid)) FROM pg_constraint con JOIN typ ON typ.oid = con.contypid
    WHERE true ${persistsNotNull}
  UNION ALL SELECT format('composite %s: %s', typ.id, (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
      FROM pg_attribute a WHERE a.attrelid = typ.typrelid AND a.attnum > 0 AND NOT a.attisdropped)) FROM typ WHERE typtype = 'c'
  UNION ALL SELECT format('range %s of %s', typ.id, format_type(g.rngsubtype, NULL)) FROM typ JOIN pg_range g ON g.rngtypid = typ.oid
  UNION ALL SELECT format('base type %s input %s output %s', id, typinput, typoutput) FROM typ WHERE typtype = 'b'
  UNION ALL SELECT format('owner %s %s %I', kind, id, pg_get_userbyid(typowner)) FROM typ
  UNION ALL ${grants('type', 'typ.id', 'typ.typacl', 'T', 'typ.typowner', 'typ')}

  -- what belongs to no schema, and what is rare
  UNION ALL SELECT format('extension %I version %s schema %s', extname, extversion, extnamespace::regnamespace) FROM pg_extension
  UNION ALL SELECT format('event trigger %I on %s %s: %s%s owner %I', evtname, evtevent, coalesce(evttags::text, ''), evtfoid::regproc,
      CASE evtenabled WHEN 'O' THEN '' ELSE ' (enabled: ' || evtenabled::text || ')' END, pg_get_userbyid(evtowner)) FROM pg_event_trigger e
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_event_trigger'::regclass AND m.objid = e.oid)
  UNION ALL SELECT format('publication %I%s insert %s update %s delete %s truncate %s via root %s owner %I', pubname, CASE WHEN puballtables THEN ' all tables' ELSE '' END,
      pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, pg_get_userbyid(pubowner)) FROM pg_publication
  UNION ALL SELECT format('publication %I table %s%s%s', p.pubname, rel.id, coalesce(' where ' || pg_get_expr(pr.prqual, pr.prrelid), ''),
      coalesce(' columns ' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = pr.prrelid AND a.attnum = ANY (pr.prattrs)), ''))
    FROM pg_publication_rel pr JOIN pg_publication p ON p.oid = pr.prpubid JOIN rel ON rel.oid = pr.prrelid
  UNION ALL SELECT format('publication %I schema %s', p.pubname, pn.pnnspid::regnamespace) FROM pg_publication_namespace pn JOIN pg_publication p ON p.oid = pn.pnpubid
  UNION ALL SELECT format('default privileges of %I%s on %s to %s: %s', pg_get_userbyid(d.defaclrole), CASE WHEN d.defaclnamespace = 0 THEN '' ELSE ' in ' || d.defaclnamespace::regnamespace::text END,
      d.defaclobjtype, coalesce(r.rolname, 'PUBLIC'), string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ' ' ORDER BY a.privilege_type, a.is_grantable))
    FROM pg_default_acl d, aclexplode(d.defaclacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee GROUP BY d.defaclrole, d.defaclnamespace, d.defaclobjtype, r.rolname
  UNION ALL SELECT format('foreign data wrapper %I %s owner %I', fdwname, coalesce(fdwoptions::text, ''), pg_get_userbyid(fdwowner)) FROM pg_foreign_data_wrapper f
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND m.objid = f.oid)
  UNION ALL SELECT format('server %I wrapper %I %s owner %I', srvname, w.fdwname, coalesce(srvoptions::text, ''), pg_get_userbyid(srvowner))
    FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_foreign_server'::regclass AND m.objid = s.oid)
  UNION ALL SELECT format('foreign table %s server %I %s', rel.id, s.srvname, coalesce(f.ftoptions::text, '')) FROM pg_foreign_table f JOIN rel ON rel.oid = f.ftrelid JOIN pg_foreign_server s ON s.oid = f.ftserver
  UNION ALL SELECT format('collation %I.%I provider %s collate %s ctype %s locale %s deterministic %s', n.nspname, co.collname, co.collprovider, coalesce(co.collcollate, '-'), coalesce(co.collctype, '-'),
      coalesce(${collationLocale}, '-'), co.collisdeterministic) FROM pg_collation co JOIN visible n ON n.oid = co.collnamespace
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_collation'::regclass AND m.objid = co.oid)
  UNION ALL SELECT format('%s %s', o.type, o.identity)
    FROM (SELECT 'pg_cast'::regclass::oid AS classid, oid FROM pg_cast UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
      UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
      UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
      UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am) x,
      pg_identify_object(x.classid, x.oid, 0) o
    WHERE x.oid >= 16384 AND NOT EXISTS (SELECT FROM member m WHERE m.classid = x.classid AND m.objid = x.oid)
  UNION ALL SELECT format('comment on %s %s: %s', o.type, o.identity, d.description)
    FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) o
    WHERE d.objoid >= 16384 AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.classoid AND m.objid = d.objoid)
      AND NOT (d.classoid = 'pg_class'::regclass AND d.objoid NOT IN (SELECT oid FROM rel UNION ALL SELECT i.indexrelid FROM pg_index i JOIN rel ON rel.oid = i.indrelid))
      AND NOT (d.classoid = 'pg_constraint'::regclass AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.oid = d.objoid AND (c.conrelid = 0 OR c.conrelid IN (SELECT oid FROM rel))))`;
}
