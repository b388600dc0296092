-- Who uses what lies in the store: asked before anything is removed there.

CREATE INDEX generations_by_video ON generations ((result ->> 'blob')) WHERE result IS NOT NULL;
CREATE INDEX generations_by_image ON generations ((request ->> 'image_key')) WHERE request ->> 'image_key' IS NOT NULL;
